// bench-go asks for a header of the request as often as its configuration says.
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
		if _, err := kong.Request.GetHeader("x-bench"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
	}
}

func main() {
	if err := server.StartServer(New, "1.0.0", 10); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
