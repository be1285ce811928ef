# The image of `longhaul`: docs/deployment.md. Both bases are of an exact version; a release
# may name them by digest instead, with --build-arg.
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG DEBIAN_IMAGE=debian:12.11-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin longhaul \
 && install -D --strip target/release/longhaul /out/longhaul

FROM ${DEBIAN_IMAGE}
# What the base lacks of security fixes comes with the upgrade.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get upgrade --yes \
 && apt-get install --no-install-recommends --yes ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY LICENSE-MIT LICENSE-APACHE NOTICE /usr/share/doc/longhaul/
COPY --from=build /out/longhaul /usr/local/bin/longhaul
# Numeric, so that Kubernetes can see that it is not root. No file belongs to this user.
USER 10001:10001
# Inside of a container, loopback reaches nobody. `serve` still refuses to start unless callers
# must say who they are (LONGHAUL_AUTHENTICATE, LONGHAUL_OIDC_ISSUER) or LONGHAUL_OPEN_TO_ALL
# says that everyone may do everything.
ENV LONGHAUL_LISTEN=0.0.0.0:8080 \
    LONGHAUL_METRICS_LISTEN=0.0.0.0:9187
# The API; metrics and health of a worker.
EXPOSE 8080 9187
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["longhaul", "health"]
ENTRYPOINT ["longhaul"]
CMD ["serve"]
