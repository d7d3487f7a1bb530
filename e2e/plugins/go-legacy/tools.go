//go:build tools

// Package legacy keeps the plugin server in go.mod, beside the plugins that it loads.
package legacy

import _ "github.com/Kong/go-pluginserver"
