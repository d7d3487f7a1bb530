'use strict'
// Asks for a header as often as its configuration says: the measure of what a PDK call costs.

class Plugin {
  constructor(config) {
    this.config = config
  }

  async access(kong) {
    for (let i = 0; i < this.config.calls; i++) await kong.request.getHeader('host')
  }
}

module.exports = {
  Plugin,
  Name: 'js-calls',
  Schema: [{ calls: { type: 'integer', default: 0 } }],
  Version: '1.0.0',
  Priority: 2,
}
