// key-checker lets a request through whose query argument "key" equals the configured one.
// It is the embedded form: a program that serves itself.
package main

import (
	"fmt"
	"os"

	pdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
)

// Config is the plugin's configuration.
type Config struct {
	Apikey string
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

// Access answers 403 unless the key is right.
func (conf Config) Access(kong *pdk.PDK) {
	key, err := kong.Request.GetQueryArg("key")
	if err != nil {
		_ = kong.Log.Err("reading the key: ", err.Error())
	}
	if err == nil && key == conf.Apikey {
		_ = kong.ServiceRequest.SetHeader("x-key-checker", key)
		return
	}
	headers := map[string][]string{"Content-Type": {"application/json"}}
	kong.Response.Exit(403, []byte(`{"error":"no such key"}`), headers)
}

func main() {
	if err := server.StartServer(New, "0.2", 1); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
