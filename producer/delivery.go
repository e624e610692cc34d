package producer

// settleLocked moves what is finished from the window to the deliveries and gives its memory back.
func (pt *partition) settleLocked() {
	for b := pt.window.pop(); b != nil; b = pt.window.pop() {
		pt.finishLocked(b)
	}
}

func (pt *partition) finishLocked(b *batch) {
	pt.topic.p.memory.release(b.reserved)
	b.reserved = 0
	pt.deliveries = append(pt.deliveries, b)
}

// deliver runs the callbacks that are due, in order, unless somebody else is at it, who will run these too.
func (pt *partition) deliver() {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if len(pt.delivering) > 0 {
		return
	}
	for len(pt.deliveries) > 0 {
		pt.delivering, pt.deliveries, pt.spare = pt.deliveries, pt.spare, nil
		bs := pt.delivering
		pt.mu.Unlock()
		for _, b := range bs {
			b.deliver()
		}
		pt.mu.Lock()
		for _, b := range bs {
			for _, f := range b.flushes {
				f.one()
			}
		}
		for _, b := range bs {
			pt.topic.p.recycleBatch(b)
		}
		clear(bs)
		pt.delivering, pt.spare = nil, bs[:0]
	}
	if pt.delivered != nil {
		close(pt.delivered)
		pt.delivered = nil
	}
}

// awaitDelivery waits for callbacks that another goroutine is running.
func (pt *partition) awaitDelivery() {
	pt.mu.Lock()
	if len(pt.delivering) == 0 {
		pt.mu.Unlock()
		return
	}
	if pt.delivered == nil {
		pt.delivered = make(chan struct{})
	}
	ch := pt.delivered
	pt.mu.Unlock()
	<-ch
}

// heavy tells whether a user's function is among the callbacks that are due.
func (pt *partition) heavy() bool {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	for _, b := range pt.deliveries {
		if b.heavy {
			return true
		}
	}
	return false
}

// flush closes the open batch and makes f wait for everything that is not delivered.
func (pt *partition) flush(f *flush) *node {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.closeOpenLocked()
	for _, bs := range [][]*batch{pt.delivering, pt.deliveries, pt.window.sent, pt.queue} {
		for _, b := range bs {
			f.left.Add(1)
			b.flushes = append(b.flushes, f)
		}
	}
	return pt.wakeLocked(fullBatch)
}
