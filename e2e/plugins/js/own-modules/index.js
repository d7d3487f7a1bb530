'use strict'
// A plugin in a folder of its own with its own node_modules: it says how long its configured time is.

const milliseconds = require('ms')

class Plugin {
  constructor(config) {
    this.config = config
  }

  async access(kong) {
    await kong.response.setHeader('x-own-modules', String(milliseconds(this.config.time)))
  }
}

module.exports = {
  Plugin,
  Name: 'own-modules',
  Schema: [{ time: { type: 'string', required: true } }],
  Version: '1.0.0',
  Priority: 6,
}
