'use strict'
// Asks for a header of the request as often as its configuration says.

class Plugin {
  constructor(config) {
    this.calls = config.calls
  }

  async access(kong) {
    for (let i = 0; i < this.calls; i++) await kong.request.getHeader('x-bench')
  }
}

module.exports = {
  Plugin,
  Name: 'bench-js',
  Schema: [{ calls: { type: 'integer' } }],
  Version: '1.0.0',
  Priority: 10,
}
