package sources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// plainly says in an operator's words what keeps a topic from being read.
func (b *kafkaBroker) plainly(err error) string {
	var group *kgo.ErrGroupSession
	if errors.As(err, &group) {
		err = group.Err
	}
	var refused *kerr.Error
	if errors.As(err, &refused) {
		return b.refusal(refused)
	}
	var (
		lookup *net.DNSError
		dial   *net.OpError
		record tls.RecordHeaderError
		cert   *tls.CertificateVerificationError
		first  *kgo.ErrFirstReadEOF
		closed *unreachable
	)
	switch {
	case errors.As(err, &lookup):
		return fmt.Sprintf("look up %s: %s", strings.TrimSuffix(lookup.Name, "."), lookup.Err)
	case errors.As(err, &cert):
		return "TLS: " + certificateFault(cert)
	case errors.As(err, &record):
		return "TLS: the broker does not speak it"
	case errors.As(err, &dial) && dial.Op == "dial" && dial.Addr != nil:
		return fmt.Sprintf("connect to %s: %s", dial.Addr, innermost(dial))
	case errors.Is(err, context.DeadlineExceeded):
		return "the broker does not answer"
	case errors.As(err, &closed):
		return closed.Error()
	case (errors.As(err, &first) || errors.Is(err, io.EOF)) && b.sasl():
		return "SASL: authentication failed: the broker closed the connection"
	case errors.As(err, &first) || errors.Is(err, io.EOF):
		return "the broker closed the connection at once: does it want SASL or TLS?"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

func (b *kafkaBroker) sasl() bool { return b.topic.Auth != nil && b.topic.Auth.Type != "" }

// refusal puts a broker's error code in words.
func (b *kafkaBroker) refusal(e *kerr.Error) string {
	switch e.Code {
	case kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicID.Code:
		return fmt.Sprintf("topic %s does not exist", b.topic.Topic)
	case kerr.TopicAuthorizationFailed.Code:
		return fmt.Sprintf("not authorized to read topic %s", b.topic.Topic)
	case kerr.GroupAuthorizationFailed.Code:
		return fmt.Sprintf("not authorized to use consumer group %s", b.topic.GroupID)
	case kerr.InconsistentGroupProtocol.Code:
		return fmt.Sprintf("consumer group %s is used by another kind of consumer", b.topic.GroupID)
	case kerr.SaslAuthenticationFailed.Code:
		return "SASL: authentication failed"
	case kerr.UnsupportedSaslMechanism.Code:
		return "SASL: the broker does not offer this way of authentication"
	}
	return fmt.Sprintf("the broker answered %s: %s", e.Message, e.Description)
}

// certificateFault is why a broker's certificate is not trusted.
func certificateFault(e *tls.CertificateVerificationError) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(e, &unknown) {
		return "the broker's certificate is signed by an unknown authority"
	}
	return "the broker's certificate is refused: " + strings.TrimPrefix(e.Err.Error(), "x509: ")
}

// innermost is the cause of a network error without the calls around it.
func innermost(e *net.OpError) string {
	var call *os.SyscallError
	switch {
	case e.Timeout():
		return "no answer in time"
	case errors.As(e, &call):
		return call.Err.Error()
	}
	return e.Err.Error()
}
