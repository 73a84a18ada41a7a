package localstores

import (
	"encoding/binary"
	"hash/crc32"
)

// xz stores data in the .xz format, uncompressed: one block of LZMA2 chunks
// without a checksum of its own (The .xz File Format 1.2.0).
func xz(data []byte) []byte {
	uncompressed := uint64(len(data))
	flags := []byte{0, 0} // no block checks
	header := append([]byte{0xFD, '7', 'z', 'X', 'Z', 0}, flags...)
	out := append(header, crc(flags)...)

	// Block header: (2+1)*4 bytes, one filter, LZMA2 with an 8 MiB dictionary.
	block := []byte{2, 0, 0x21, 1, 22, 0, 0, 0}
	out = append(append(out, block...), crc(block)...)
	start := len(out)
	for control := byte(1); len(data) > 0; control = 2 { // 1 resets the dictionary
		n := min(len(data), 1<<16)
		out = append(out, control, byte((n-1)>>8), byte(n-1))
		out = append(out, data[:n]...)
		data = data[n:]
	}
	out = append(out, 0)
	unpadded := len(block) + 4 + len(out) - start
	for len(out)%4 != 0 {
		out = append(out, 0)
	}

	index := binary.AppendUvarint([]byte{0, 1}, uint64(unpadded))
	index = binary.AppendUvarint(index, uncompressed)
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	out = append(append(out, index...), crc(index)...)

	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)+4)/4-1)
	footer = append(footer, flags...)
	return append(append(append(out, crc(footer)...), footer...), 'Y', 'Z')
}

func crc(b []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) }
