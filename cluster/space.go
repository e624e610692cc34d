package cluster

// SpaceStatus is what a node's logs have of its disk.
type SpaceStatus struct {
	Used  int64 // bytes of all logs
	Free  int64 // bytes that can be written to the disk; -1 unknown
	Total int64 // bytes of the disk; -1 unknown
	// Full says that records are refused: those of clients (see Config.MaxBytes and Config.ReserveBytes), those that other nodes lead (at half of the reserve), or any, for the disk has refused a write within the last seconds or has no room yet for what was kept back for then.
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
