FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin longhaul

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --no-install-recommends --yes ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --no-create-home longhaul
COPY --from=build /src/target/release/longhaul /usr/local/bin/longhaul
USER longhaul
ENTRYPOINT ["longhaul"]
CMD ["serve"]
