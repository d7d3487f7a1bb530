'use strict'
// Greets like js-hello, in TypeScript and with the types of the PDK.

import kong from 'kong-pdk/kong'

interface Config {
  message?: string
}

class Plugin {
  config: Config

  constructor(config: Config) {
    this.config = config
  }

  async access(kong: kong): Promise<void> {
    const order = String((await kong.ctx.shared.get('order')) || '') + 'ts-hello '
    await kong.ctx.shared.set('order', order)
    await Promise.all([
      kong.service.request.setHeader('x-order', order),
      kong.service.request.setHeader('x-ts-hello', this.config.message || ''),
      kong.response.setHeader('x-ts-hello', 'TypeScript says ' + this.config.message),
    ])
  }
}

module.exports = {
  Plugin: Plugin,
  Name: 'ts-hello',
  Schema: [{ message: { type: 'string' } }],
  Version: '1.0.0',
  Priority: 25,
}
