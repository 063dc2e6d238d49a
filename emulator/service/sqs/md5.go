package sqs

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func sum(b []byte) string {
	h := md5.Sum(b)
	return hex.EncodeToString(h[:])
}

// sumAttributes is the sum that SDKs check: SQS Developer Guide, "Calculating the
// MD5 message digest for message attributes". nil if there are none.
func sumAttributes(attrs map[string]types.MessageAttributeValue) *string {
	if len(attrs) == 0 {
		return nil
	}
	var b []byte
	add := func(v []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		v := attrs[name]
		add([]byte(name))
		add([]byte(aws.ToString(v.DataType)))
		if strings.HasPrefix(aws.ToString(v.DataType), "Binary") {
			b = append(b, 2)
			add(v.BinaryValue)
		} else {
			b = append(b, 1)
			add([]byte(aws.ToString(v.StringValue)))
		}
	}
	return aws.String(sum(b))
}

func sumSystem(attrs map[string]types.MessageSystemAttributeValue) *string {
	plain := make(map[string]types.MessageAttributeValue, len(attrs))
	for k, v := range attrs {
		plain[k] = types.MessageAttributeValue{DataType: v.DataType, StringValue: v.StringValue, BinaryValue: v.BinaryValue}
	}
	return sumAttributes(plain)
}
