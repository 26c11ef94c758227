import { readFileSync } from 'node:fs'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { contextFiles, ignorePatterns, isIgnored, type Probe, readCompose, readManifests, textOf } from './context.ts'
import { faultsOf } from './dockerfile-rules.ts'
import { parseDockerfile } from './dockerfile.ts'

/*
 * What can be said of the files of a deployment without building it; `npm run check:image` builds it.
 */

const seconds = (text: string | undefined): number => Number(/^(\d+)s$/.exec(text ?? '')?.[1])
// The delay is not part of it: the process gives up after that and half a minute.
const drainSecondsMax = 30

t.test('the Dockerfile keeps to the rules of hadolint, and each rule finds what breaks it', t => {
  t.same(faultsOf(parseDockerfile(textOf('Dockerfile'))), [])
  const broken = `FROM node AS a
    COPY . .
    RUN npm ci
    RUN cd /x && sudo apt-get update && apt-get install curl
    RUN npm install left-pad && npm ci
    RUN cat x | sh
    ADD x /x
    COPY a b /c
    COPY --from=b /x /x
    WORKDIR here
    ENV A=$A
    MAINTAINER me
    CMD node x
    CMD node y
    FROM debian:latest AS a
    RUN npm ci`
  const codes = new Set(faultsOf(parseDockerfile(broken)).map(fault => fault.split(' ', 1)[0]))
  t.same([...codes].sort(), [
    'DL3000', 'DL3002', 'DL3003', 'DL3004', 'DL3006', 'DL3007', 'DL3008', 'DL3009', 'DL3016', 'DL3020', 'DL3021',
    'DL3022', 'DL3024', 'DL3025', 'DL3044', 'DL3045', 'DL3057', 'DL3059', 'DL4000', 'DL4003', 'DL4006', 'npm', 'order'
  ])
  t.end()
})

t.test('a build gets what the package is made of, and no key, data or packages', t => {
  const files = contextFiles()
  const needed = ['package.json', 'package-lock.json', 'tsconfig.build.json', 'README.md', 'LICENSE', 'src/main.ts']
  for (const path of [...needed, 'scripts/build-package.ts']) t.ok(files.includes(path), path)
  const patterns = ignorePatterns()
  const others = ['data/jwt-secret', '.env', '.git/config', 'node_modules/a.js', 'bench/peers/node_modules/a.js']
  for (const path of [...others, 'test/a.ts', 'dist/main.js']) t.ok(isIgnored(patterns, path), path)
  t.ok(isIgnored(['**/node_modules'], 'a/b/node_modules/c.js'))
  t.notOk(isIgnored(['*.log'], 'a/b.log'))
  t.end()
})

t.test('compose.yaml: the servers are healthy first, and the service has time to drain', t => {
  const { services: { service, redis, postgres } } = readCompose()
  t.same(service?.depends_on, { postgres: { condition: 'service_healthy' }, redis: { condition: 'service_healthy' } })
  for (const other of [redis, postgres]) {
    t.ok(other?.healthcheck !== undefined)
    t.match(other?.image, /^\w+:\d+-\w+$/, 'a version')
  }
  const { DRAIN_DELAY_SECONDS: delay } = service?.environment ?? {}
  t.ok(seconds(service?.stop_grace_period) >= Number(delay) + drainSecondsMax)
  const known = new Set(readFileSync('src/config/config.ts', 'utf8').match(/\b[A-Z][A-Z0-9_]+(?=:)/g))
  const unknown = Object.keys(service?.environment ?? {}).filter(name => !known.has(name))
  t.same(unknown, [], 'the service knows its variables')
  t.match(service?.ports, [/^127\.0\.0\.1:/], 'it is not open to the network')
  t.end()
})

type Container = {
  ports: Array<{ name: string, containerPort: number }>
  env: Array<{ name: string, value: string }>
  startupProbe: Probe
  livenessProbe: Probe
  readinessProbe: Probe
  volumeMounts: Array<{ mountPath: string }>
}
type Pod = {
  terminationGracePeriodSeconds: number
  securityContext: { runAsUser: number, runAsNonRoot: boolean }
  containers: [Container]
}

t.test('the Kubernetes manifests fit the service and each other', async t => {
  const [deployment, service, budget] = readManifests()
  t.same([deployment?.kind, service?.kind, budget?.kind], ['Deployment', 'Service', 'PodDisruptionBudget'])
  const { replicas, selector, template } = deployment?.spec as {
    replicas: number, selector: { matchLabels: object }, template: { metadata: { labels: object }, spec: Pod }
  }
  const { metadata: { labels }, spec } = template
  const { terminationGracePeriodSeconds, securityContext, containers: [container] } = spec
  t.same(selector.matchLabels, labels)
  t.same((service?.spec as { selector: object }).selector, labels)
  t.same((budget?.spec as { selector: { matchLabels: object } }).selector.matchLabels, labels)
  t.ok(replicas > (budget?.spec as { minAvailable: number }).minAvailable, 'a node can be drained')
  const { ports: [port], env, startupProbe, livenessProbe, readinessProbe } = container
  const image = parseDockerfile(textOf('Dockerfile')).at(-1)
  const words = (name: string) => image?.instructions.find(instruction => instruction.name === name)?.words
  t.same([String(port?.containerPort)], words('EXPOSE'))
  t.same((service?.spec as { ports: Array<{ targetPort: string }> }).ports[0]?.targetPort, port?.name)
  t.same(container.volumeMounts.map(({ mountPath }) => mountPath), words('VOLUME'))
  t.same(securityContext, { runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000 })
  const delay = Number(env.find(({ name }) => name === 'DRAIN_DELAY_SECONDS')?.value)
  t.ok(terminationGracePeriodSeconds >= delay + drainSecondsMax)
  t.ok(delay > readinessProbe.periodSeconds, 'the endpoints notice within the delay')
  t.ok(startupProbe.periodSeconds * (startupProbe.failureThreshold ?? 3) >= 60, 'a start that migrates has a minute')
  const running = await startService(t, { WORKERS: '0' })
  for (const { httpGet } of [startupProbe, livenessProbe, readinessProbe]) {
    t.equal(httpGet.port, port?.name)
    t.equal((await running.ask(httpGet.path, { headers: { authorization: '' } })).status, 200, httpGet.path)
  }
})
