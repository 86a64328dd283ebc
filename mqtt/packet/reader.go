package packet

import (
	"errors"
	"io"
	"sync"
)

const (
	smallBuffer = 512      // bytes a Reader holds while nothing arrives
	largeBuffer = 32 << 10 // bytes it borrows while data flows
)

var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// Reader reads the packets of one direction of a connection. An idle Reader
// holds a small buffer; while data flows, or a packet is larger than that, it
// borrows a large one. It is for one goroutine.
type Reader struct {
	src       io.Reader
	maxPacket int
	d         decoder
	topics    topicCache

	buf   []byte // small or *large
	r, w  int    // buf[r:w] is read and not yet decoded
	large *[largeBuffer]byte
	small [smallBuffer]byte
}

// NewReader returns a Reader of a connection that begins with CONNECT, from
// which it learns the version; for any other, call SetVersion. A packet of
// more than maxPacket bytes, its fixed header included, is refused before
// anything is allocated for it; 0 means MaxSize.
func NewReader(src io.Reader, maxPacket int) *Reader {
	r := &Reader{src: src}
	r.buf = r.small[:]
	r.d.topics = &r.topics
	r.SetMaxPacket(maxPacket)
	return r
}

// SetVersion sets the version of the connection.
func (r *Reader) SetVersion(v Version) { r.d.v = v }

// Version returns the version of the connection, 0 while it is unknown. After
// a CONNECT that Read refused it is the one to answer in, 0: with nothing.
func (r *Reader) Version() Version { return r.d.v }

// SetMaxPacket changes the limit that NewReader set.
func (r *Reader) SetMaxPacket(n int) {
	if n <= 0 || n > MaxSize {
		n = MaxSize
	}
	r.maxPacket = n
}

// Buffered returns how many bytes have been read ahead; while there are some,
// Read may have a packet without waiting.
func (r *Reader) Buffered() int { return r.w - r.r }

// Read returns the next packet, which owns its bytes. It returns io.EOF where
// a packet would begin, io.ErrUnexpectedEOF within one, other errors of the
// connection as they are, and an *Error for a packet that breaks the
// protocol. After an error there is nothing more to be read.
func (r *Reader) Read() (Packet, error) {
	first, size, err := r.header()
	if err != nil {
		return nil, err
	}
	r.d.kind, r.d.flags = kind(first>>4), first&0x0F
	p, err := r.begin()
	if err != nil {
		return nil, err
	}
	r.d.b, r.d.owned, err = r.body(size)
	if err != nil {
		return nil, err
	}
	r.d.err = nil
	p.decode(&r.d)
	r.d.end()
	if r.d.err == nil {
		r.d.err = p.check(r.d.v)
	}
	r.d.b = nil
	if r.d.err != nil {
		return nil, r.d.err.in(r.d.kind)
	}
	return p, nil
}

// header takes the fixed header. // MQTT 5, 2.1
func (r *Reader) header() (first byte, size int, err error) {
	for n := 2; n <= 5; n++ {
		if err := r.fill(n); err != nil {
			if r.Buffered() > 0 {
				err = unexpected(err)
			}
			return 0, 0, err
		}
		b := r.buf[r.r+n-1]
		size |= int(b&0x7F) << (7 * (n - 2))
		if b >= 0x80 {
			continue
		}
		if b == 0 && n > 2 && r.d.v == V5 { // before, padding was not forbidden
			break
		}
		first = r.buf[r.r]
		r.r += n
		if n+size > r.maxPacket {
			return 0, 0, (&Error{PacketTooLarge, "the packet is over the maximum packet size"}).in(kind(first >> 4))
		}
		return first, size, nil
	}
	return 0, 0, (&Error{MalformedPacket, "the remaining length is not a variable byte integer [MQTT-1.5.5-1]"}).in(kind(r.buf[r.r] >> 4))
}

// begin returns the packet to decode into, or what is wrong with its first byte.
func (r *Reader) begin() (Packet, error) {
	p := newPacket(r.d.kind, r.d.v)
	switch {
	case p == nil:
		return nil, &Error{MalformedPacket, "the packet type is reserved [2.1.2]"}
	case r.d.v == 0 && r.d.kind != connect:
		return nil, &Error{ProtocolError, "the first packet is not CONNECT but " + r.d.kind.String() + " [MQTT-3.1.0-1]"}
	case r.d.kind != publish && r.d.flags != r.d.kind.flags() && r.d.v != V31: // of 3.1 they are not used, or DUP
		return nil, (&Error{MalformedPacket, "reserved flags are set [MQTT-2.1.3-1]"}).in(r.d.kind)
	}
	return p, nil
}

// body takes the bytes behind the fixed header: a part of the buffer, or
// memory of their own when they do not fit.
func (r *Reader) body(size int) (b []byte, owned bool, err error) {
	if size <= largeBuffer {
		if err := r.fill(size); err != nil {
			return nil, false, unexpected(err)
		}
		b = r.buf[r.r : r.r+size]
		r.r += size
		return b, false, nil
	}
	// Memory grows with what has arrived, whatever the header says; by five,
	// because sizes tend to lie just above a power of two.
	b = make([]byte, 0, min(size, 2*largeBuffer))
	b = append(b, r.buf[r.r:r.w]...)
	r.r, r.w = 0, 0
	r.release()
	for len(b) < size {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(size, 5*cap(b)))
			copy(grown, b)
			b = grown
		}
		n, err := io.ReadFull(r.src, b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			return nil, false, unexpected(err)
		}
	}
	return b, true, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill reads until n bytes, at most largeBuffer, are buffered.
func (r *Reader) fill(n int) error {
	for idle := 0; r.Buffered() < n; {
		r.room(n)
		m, err := r.src.Read(r.buf[r.w:])
		r.w += m
		switch {
		case r.Buffered() >= n:
			return nil
		case err != nil:
			return err
		case m > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// room makes room for n bytes, what is buffered included, in the buffer that
// suits: large for a large packet and when a read has filled the small one,
// small again when all of it is decoded.
func (r *Reader) room(n int) {
	have := r.buf[r.r:r.w]
	switch {
	case len(have) == 0 && n <= smallBuffer:
		r.release()
	case r.large == nil && (n > smallBuffer || r.w == smallBuffer):
		r.large = largeBuffers.Get().(*[largeBuffer]byte)
		r.buf = r.large[:]
	}
	r.r, r.w = 0, copy(r.buf, have)
}

// release gives the large buffer back.
func (r *Reader) release() {
	if r.large != nil {
		largeBuffers.Put(r.large)
		r.large = nil
		r.buf = r.small[:]
	}
}
