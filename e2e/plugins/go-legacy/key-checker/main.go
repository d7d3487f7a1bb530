// key-checker lets a request through whose query argument "key" equals the configured one.
// Built as a shared object it is a plugin of go-pluginserver; with the tag "embedded", a server of itself.
package main

import pdk "github.com/Kong/go-pdk"

// Config is the plugin's configuration.
type Config struct {
	Apikey string
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

// Version and Priority are looked up by name in the shared object.
var (
	Version  = "0.2"
	Priority = 1
)

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
	kong.Response.Exit(403, `{"error":"no such key"}`, headers)
}
