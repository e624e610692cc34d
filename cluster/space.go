package cluster

// SpaceStatus is what a node's logs have of its disk.
type SpaceStatus struct {
	Used  int64 // bytes of all logs
	Free  int64 // bytes that can be written to the disk; -1 unknown
	Total int64 // bytes of the disk; -1 unknown
	// Full says that records from clients were refused when one came last: see Config.MaxBytes and Config.ReserveBytes.
	Full bool
}

func (n *Node) space() SpaceStatus {
	s := SpaceStatus{Free: -1, Total: -1}
	s.Used, s.Full = n.broker.Space()
	if total, free, err := n.dir.Space(); err == nil {
		s.Free, s.Total = free, total
	}
	return s
}
