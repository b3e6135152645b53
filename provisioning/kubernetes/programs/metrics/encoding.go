package main

import (
	"encoding/json"
	"log"
	"net/http"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

type form int

const (
	none form = iota
	asJSON
	asProtobuf
	asTable
)

var scheme = func() *runtime.Scheme {
	known := runtime.NewScheme()
	if err := metrics.AddToScheme(known); err != nil {
		panic(err)
	}
	metav1.AddToGroupVersion(known, metav1.Unversioned)
	return known
}()

// write sends an object in the first acceptable form: JSON, protobuf (the controller manager), a table (`kubectl get`).
func write(writer http.ResponseWriter, request *http.Request, object runtime.Object) {
	code := http.StatusOK
	status, failed := object.(*metav1.Status)
	if failed {
		code = int(status.Code)
	}
	switch wanted := accepted(request.Header.Get("Accept")); {
	case wanted == asProtobuf:
		writer.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
		writer.WriteHeader(code)
		logError(protobuf.NewSerializer(scheme, scheme).Encode(object, writer))
		return
	case wanted == asTable && !failed:
		object = tableOf(object, request.URL.Query().Get("includeObject"))
	case wanted == none && !failed:
		code, object = http.StatusNotAcceptable, &metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusNotAcceptable,
			Reason: metav1.StatusReasonNotAcceptable, Message: "only JSON and protobuf are served",
		}
	}
	writer.Header().Set("Content-Type", runtime.ContentTypeJSON)
	writer.WriteHeader(code)
	logError(json.NewEncoder(writer).Encode(object))
}

func accepted(header string) form {
	if header == "" {
		return asJSON
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		transformed := clause.Params["as"]
		switch media := clause.Type + "/" + clause.SubType; {
		case media == runtime.ContentTypeJSON && transformed == "Table" && clause.Params["v"] == "v1" && clause.Params["g"] == metav1.GroupName:
			return asTable
		case transformed != "":
		case media == runtime.ContentTypeJSON, media == "application/*", media == "*/*":
			return asJSON
		case media == runtime.ContentTypeProtobuf:
			return asProtobuf
		}
	}
	return none
}

// logError logs a client that has gone away.
func logError(err error) {
	if err != nil {
		log.Print(err)
	}
}
