//go:build !unix

package transport

import "time"

func processorTime() time.Duration { return 0 }
