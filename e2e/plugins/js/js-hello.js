'use strict'
// Greets: sets a header of the answer and of the upstream's request, and appends its name to the order in
// which the plugins of one request have run.

const name = 'js-hello'

class Plugin {
  constructor(config) {
    this.config = config
  }

  async access(kong) {
    const host = await kong.request.getHeader('host')
    const order = ((await kong.ctx.shared.get('order')) || '') + name + ' '
    await kong.ctx.shared.set('order', order)
    await kong.service.request.setHeader('x-order', order)
    await kong.service.request.setHeader(`x-${name}`, this.config.message || '')
    await kong.response.setHeader(`x-${name}`, `JavaScript says ${this.config.message} to ${host}`)
  }
}

module.exports = {
  Plugin,
  Name: name,
  Schema: [{ message: { type: 'string' } }],
  Version: '1.0.0',
  Priority: 20,
}
