# The package is built in the first stage, and installed without development packages in the second.
FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm pack --pack-destination /tmp

FROM node:24-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0
WORKDIR /app
COPY package-lock.json ./package-lock.json
COPY --from=build /tmp/job-status-service-*.tgz /tmp/service.tgz
# The packages are those of the lock file.
RUN tar -xzf /tmp/service.tgz --strip-components=1 \
  && npm ci --omit=dev --no-audit --no-fund \
  && rm /tmp/service.tgz \
  && npm cache clean --force \
  && install -d -o node -g node data
USER node
VOLUME /app/data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/livez`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--expose-gc", "dist/cli/main.js", "serve"]
