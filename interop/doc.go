// Package interop runs other people's Kafka clients against embedded nodes.
//
//	go test -tags synctests ./...
//
// The tag is franz-go's: it makes the client fit for virtual time. Without it only what needs real time runs.
package interop
