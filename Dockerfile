# The emulator in a container: a static binary on an empty base.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# The linker flags of the Makefile: kube-apiserver needs to know its own version.
RUN make agents && k8s=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) && minor=${k8s#v1.} && base=k8s.io/component-base/version && \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X k8s.io/client-go/pkg/version.gitVersion=$k8s \
      -X $base.gitVersion=$k8s -X $base.gitMajor=1 -X $base.gitMinor=${minor%%.*}" -o /ekslocal ./cmd/ekslocal && \
    mkdir -p /state /tmp-empty

FROM scratch
COPY --from=build /ekslocal /ekslocal
COPY --from=build /state /var/lib/ekslocal
COPY --from=build /tmp-empty /tmp
EXPOSE 4566 6500-6599
VOLUME /var/lib/ekslocal
ENTRYPOINT ["/ekslocal"]
CMD ["start", "--listen", "0.0.0.0:4566", "--data-dir", "/var/lib/ekslocal", "--advertise-host", "127.0.0.1,localhost,ekslocal"]
