module silverback.test/plugins

go 1.21

require github.com/Kong/go-pdk v0.8.0

// The version that go-pdk 0.8.0 asks for does not link with today's Go.
require github.com/ugorji/go/codec v1.2.12 // indirect

require google.golang.org/protobuf v1.25.0 // indirect
