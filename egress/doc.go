// Package egress is the CONNECT proxy that every delivery leaves through. It has the addresses that receivers see, and it is where a
// destination is judged: by its name, its port and every address the name resolves to. It imports nothing of the rest of the gateway.
//
//	agent ──CONNECT host:port──▶ authenticate ─▶ judge name, port ─▶ resolve once ─▶ judge every address ─▶ dial a judged one ─▶ tunnel
//	                                 407              403              502 504             403             502 504 (judged again)
//
// Each answer names its cause in the header X-Millrace-Egress, from a closed list ([Reason]) that a tenant may see. The address and the
// rule behind a refusal go to the operator's log only.
package egress
