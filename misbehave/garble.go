package misbehave

// What is no HTTP, or none that can be used.
const (
	GarbledProtocol Mode = "garbled-protocol"
	GarbledHeader   Mode = "garbled-header"
	GarbledStatus   Mode = "garbled-status"
	GarbledUpgrade  Mode = "garbled-upgrade"
)

func garbled() []behaviour {
	return []behaviour{
		{mode: GarbledProtocol, does: "answers in another protocol, SSH", act: held("SSH-2.0-OpenSSH_9.2\r\n")},
		{mode: GarbledHeader, does: "answers 200 with a header line that is none", act: held("HTTP/1.1 200 OK\r\nno colon\r\n\r\n")},
		{mode: GarbledStatus, does: "answers with the status 9000", act: held("HTTP/1.1 9000 Over\r\nContent-Length: 0\r\n\r\n")},
		{mode: GarbledUpgrade, does: "answers 101 to a request for no upgrade", act: held("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")},
	}
}
