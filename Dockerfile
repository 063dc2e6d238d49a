# The emulator in a container: a static binary on an empty base.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /ekslocal ./cmd/ekslocal && mkdir -p /state /tmp-empty

FROM scratch
COPY --from=build /ekslocal /ekslocal
COPY --from=build /state /var/lib/ekslocal
COPY --from=build /tmp-empty /tmp
EXPOSE 4566 6500-6599
VOLUME /var/lib/ekslocal
ENTRYPOINT ["/ekslocal"]
CMD ["start", "--listen", "0.0.0.0:4566", "--data-dir", "/var/lib/ekslocal", "--advertise-host", "127.0.0.1,localhost,ekslocal"]
