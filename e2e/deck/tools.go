//go:build tools

// Names what e2e/setup builds: decK, the tool that keeps a gateway in step with files.
package tools

import _ "github.com/kong/deck"
