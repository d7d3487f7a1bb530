'use strict'
// Misbehaves as its configuration says, in one phase; in every other phase it does nothing.

const PHASES = ['certificate', 'rewrite', 'access', 'response', 'log', 'preread']
const DEEDS = ['tell', 'raise', 'hang', 'sleep', 'exit', 'move', 'deny', 'nothing']

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

class Plugin {
  constructor(config) {
    this.config = config
  }

  async act(kong, phase) {
    const { phase: when, do: what, ms, after_call: afterCall, token } = this.config
    if (phase === when) {
      if (afterCall) await kong.client.getIp()
      if (what === 'tell') await kong.log.err(`js-fault has run in ${phase}`)
      if (what === 'raise') throw new Error(`raised in ${phase}`)
      if (what === 'hang') await new Promise(() => {})
      if (what === 'sleep') await sleep(ms)
      if (what === 'exit') process.exit(3)
      if (what === 'move') await this.move(kong)
      if (what === 'deny') await kong.response.exit(403)
    }
    if (phase === 'access' && token) await kong.service.request.setHeader('x-fault-token', token)
  }

  // Sends the client elsewhere, and tells whom by way of the shared context.
  async move(kong) {
    await kong.ctx.shared.set('moved', await kong.client.getIp())
    await kong.service.setTarget('127.0.0.1', this.config.port)
    await kong.log.err(`js-fault has moved ${await kong.ctx.shared.get('moved')}`)
  }

  async certificate(kong) {
    await this.act(kong, 'certificate')
  }

  async preread(kong) {
    await this.act(kong, 'preread')
  }

  async rewrite(kong) {
    await this.act(kong, 'rewrite')
  }

  async access(kong) {
    await this.act(kong, 'access')
  }

  async response(kong) {
    await this.act(kong, 'response')
  }

  async log(kong) {
    await this.act(kong, 'log')
  }
}

module.exports = {
  Plugin,
  Name: 'js-fault',
  Schema: [
    { phase: { type: 'string', one_of: PHASES } },
    { do: { type: 'string', one_of: DEEDS } },
    { port: { type: 'integer' } },
    { ms: { type: 'integer', default: 0 } },
    { after_call: { type: 'boolean', default: false } },
    { token: { type: 'string' } },
  ],
  Version: '1.0.0',
  Priority: 4,
}
