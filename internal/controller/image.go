package controller

import "github.com/insynclog/insync/internal/controller/machine"

// The metadata types, see package machine.
type (
	// Image is the cluster's metadata at one point of the metadata log. It is immutable.
	Image = machine.Image
	// Broker is one registered node.
	Broker = machine.Broker
	// Topic is one topic.
	Topic = machine.Topic
	// Partition is one partition.
	Partition = machine.Partition
	// ScramUser is one user's credential of one SCRAM mechanism.
	ScramUser = machine.ScramUser
	// Delta tells what changed between two images.
	Delta = machine.Delta
)
