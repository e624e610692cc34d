// Package interop runs other people's Kafka clients against embedded nodes.
package interop
