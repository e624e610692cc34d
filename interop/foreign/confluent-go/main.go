package main

import (
	"fmt"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func main() { fmt.Println(kafka.LibraryVersion()) }
