// Decode the Kubernetes objects on standard input into their Go types: unknown fields, wrong types and unknown kinds
// are errors. The Prometheus Operator's kinds are known too.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	kinds := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(kinds))
	utilruntime.Must(monitoring.AddToScheme(kinds))
	decoder := serializer.NewCodecFactory(kinds, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	failed := false
	for {
		document, err := documents.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		if isEmpty(document) {
			continue
		}
		if _, kind, err := decoder.Decode(document, nil, nil); err != nil {
			fmt.Printf("%v: %v\n", kind, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// isEmpty reports whether a document has no content besides comments.
func isEmpty(document []byte) bool {
	for _, line := range bytes.Split(document, []byte("\n")) {
		text := bytes.TrimSpace(line)
		if len(text) > 0 && text[0] != '#' && string(text) != "---" {
			return false
		}
	}
	return true
}
