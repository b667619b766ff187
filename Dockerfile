# One image for server and worker: `impgem server`, `impgem worker`, or `impgem up` for both with a Redis of its own.
ARG NODE_IMAGE=node:lts-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund --ignore-scripts
COPY . .
RUN npm run build

FROM ${NODE_IMAGE}
# git and ssh for mirrors, bubblewrap, iproute2 and slirp4netns for the sandbox executor, redis for `impgem up`, tini to reap what git leaves.
RUN apt-get update \
 && apt-get install -y --no-install-recommends bubblewrap ca-certificates git iproute2 openssh-client redis-server slirp4netns \
    tini \
 && rm -rf /var/lib/apt/lists/*
# The libraries are bundled into dist/: nothing is installed here.
COPY --from=build /src/package.json /src/LICENSE /opt/impgem/
COPY --from=build /src/dist /opt/impgem/dist
RUN ln -s /opt/impgem/dist/impgem.js /usr/local/bin/impgem \
 && (id node >/dev/null 2>&1 || useradd --uid 1000 --create-home node) \
 && install -d -o node -g node /data
USER node
WORKDIR /home/node
ENV NODE_ENV=production \
    IMPGEM_DATA=/data \
    IMPGEM_LISTEN=0.0.0.0:8000
VOLUME /data
EXPOSE 8000
# A worker serves no HTTP; docker-compose.yml asks `impgem worker --check` for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8000/readyz').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))"]
# Last, so that another commit or time makes no other layer anew.
ARG VERSION=0.1.0
# Of the build, which alone knows them: the commit, the time (RFC 3339) and where this source is; empty where it does not say.
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="Imp Gem" \
      org.opencontainers.image.description="A self-hosted, git-triggered CI forge" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
ENTRYPOINT ["tini", "--", "impgem"]
CMD ["up"]
