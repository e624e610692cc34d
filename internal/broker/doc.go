// Package broker is what a node answers to Kafka's requests.
package broker
