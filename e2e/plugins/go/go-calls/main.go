// go-calls asks for a header as often as its configuration says: the measure of what a PDK call costs.
package main

import (
	"fmt"
	"os"

	pdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
)

// Config is the plugin's configuration.
type Config struct {
	Calls int `json:"calls"`
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

// Access makes the calls.
func (conf Config) Access(kong *pdk.PDK) {
	for i := 0; i < conf.Calls; i++ {
		if _, err := kong.Request.GetHeader("host"); err != nil {
			return
		}
	}
}

func main() {
	if err := server.StartServer(New, "1.0.0", 2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
