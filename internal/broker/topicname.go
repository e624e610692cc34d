package broker

// maxTopicName is the length of the longest topic name.
const maxTopicName = 249

// The internal topics of Kafka. Clients see them flagged, and may not produce to them.
const (
	topicConsumerOffsets  = "__consumer_offsets"
	topicTransactionState = "__transaction_state"
	topicShareGroupState  = "__share_group_state"
	topicClusterMetadata  = "__cluster_metadata"
)

// isInternal tells whether a topic belongs to the brokers.
func isInternal(topic string) bool {
	switch topic {
	case topicConsumerOffsets, topicTransactionState, topicShareGroupState:
		return true
	}
	return false
}

// validTopicName is Kafka's rule: 1 to 249 characters of [a-zA-Z0-9._-], neither "." nor "..". It is also what makes a topic name fit to name a directory.
func validTopicName(s string) bool {
	if s == "" || len(s) > maxTopicName || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return false
	}
	return true
}
