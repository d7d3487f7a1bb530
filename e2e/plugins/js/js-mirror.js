'use strict'
// Mirrors a request: go-mirror, py-mirror and mirror-lua do the same.

class Plugin {
  constructor(config) {
    this.config = config
  }

  async access(kong) {
    const method = await kong.request.getMethod()
    const path = await kong.request.getPath()
    const number = (await kong.request.getQueryArg('n')) || 'none'
    const seen = `${method} ${path} ${number}`
    await kong.log.notice('mirror: ', seen)
    await kong.ctx.shared.set('mirror', seen)
    await kong.response.setHeader('X-Mirror', this.config.message)
    await kong.response.addHeader('X-List', '1')
    await kong.response.addHeader('X-List', '2')
    if (await kong.request.getHeader('x-deny')) {
      const headers = { 'Content-Type': 'application/json', 'X-Reason': 'header' }
      return kong.response.exit(403, `{"denied":"${number}"}`, headers)
    }
    await kong.service.request.setHeader('X-Seen', seen)
    await kong.service.request.clearHeader('X-Secret')
    await kong.service.request.setRawQuery(`n=${number}&mirrored=yes`)
  }
}

module.exports = {
  Plugin,
  Name: 'js-mirror',
  Schema: [{ message: { type: 'string' } }],
  Version: '1.0.0',
  Priority: 20,
}
