import t from 'tap'
import { type AllowedHost, findRefusedRange, parseAllowedHost } from '../../../src/job/callbacks/allowed-hosts.ts'
import { findRefusal, toCallbackTarget, toShownUrl } from '../../../src/job/callbacks/callback-url.ts'

const allow = (...hosts: string[]): AllowedHost[] => hosts.map(host => {
  const allowed = parseAllowedHost(host)
  if (allowed === undefined) throw new Error(`${host} is no host`)
  return allowed
})

const refusalOf = (url: string, ...hosts: string[]) => findRefusal(toCallbackTarget(url), allow(...hosts))

t.test('path and query are sent as they were submitted', async t => {
  const paths = [
    '/', '/a/../b//c/./', '/a%2fb%zz', '/?', '/a?x=1&x=2?&y=%20+', '/webhook-waiting/231?signature=a%3Db', "/~!$&'()*+,;=:@|^`{}\"<>"
  ]
  for (const path of paths) t.equal(toCallbackTarget(`https://h.example${path}`).path, path)
  t.equal(toCallbackTarget('https://h.example').path, '/')
  t.equal(toCallbackTarget('https://h.example?a=/b').path, '/?a=/b')
  t.equal(toCallbackTarget('https://h.example/\u00fc?\u{1f600}').path, '/%C3%BC?%F0%9F%98%80', 'a request line is ASCII')
})

t.test('host and port are those of the URL parser', async t => {
  const hosts: Array<[url: string, host: string, hostName: string, port: number]> = [
    ['https://H.Example/', 'h.example', 'h.example', 443],
    ['HTTPS://h.example:443/', 'h.example', 'h.example', 443],
    ['https://h.example:8443/', 'h.example:8443', 'h.example', 8443],
    ['http://h.example:443/', 'h.example:443', 'h.example', 443],
    ['https://b\u00fccher.example/', 'xn--bcher-kva.example', 'xn--bcher-kva.example', 443],
    ['https://%68.example/', 'h.example', 'h.example', 443],
    ['https://[2606:4700::1111]:8443/', '[2606:4700::1111]:8443', '2606:4700::1111', 8443],
    ['https://0x8.0x8.010.8/', '8.8.8.8', '8.8.8.8', 443]
  ]
  for (const [url, host, hostName, port] of hosts) t.match(toCallbackTarget(url), { host, hostName, port }, url)
})

t.test('what two parsers may read as two URLs is not accepted', async t => {
  const urls = [
    'https://u@h.example/', 'https://u:p@h.example/', 'https://@h.example/', 'https://h.example/#', 'https://h.example#a',
    'https://h.example/a b', ' https://h.example', 'https://h.example\n', 'https://h.ex\tample/', 'https://h.example/\u0000',
    'https://h.example/\u00a0', 'https://h.example/\u2028', 'https://h.example/\u0085', 'https:h.example', 'https:/h.example',
    'https:///h.example', 'https://', 'https:\\\\h.example', 'https://h.example\\@evil.example/', 'ftp://h.example/',
    'h.example', '', 'https://h.example:0/', 'https://h.example:65536/', 'https://h<.example/', 'https://h.example/\ud800',
    'https://1.2.3.256/', 'javascript:alert(1)', `https://h.example/${'a'.repeat(2048)}`
  ]
  for (const url of urls) t.throws(() => toCallbackTarget(url), { name: 'CallbackUrlInvalid' }, url)
})

t.test('what may have a secret is not shown', async t => {
  t.equal(toShownUrl('https://h.example/a/b?token=s'), 'https://h.example/a/b')
  t.equal(toShownUrl('https://h.example?token=s'), 'https://h.example/')
})

t.test('an address that is not public is refused, however it is written', async t => {
  const addresses = [
    '127.0.0.1', '127.1', '2130706433', '0x7f000001', '0177.0.0.1', '0x7f.1', '127.0.0.1.', '0', '0.0.0.0', '0.1.2.3', '10.0.0.1',
    '100.64.0.1', '169.254.169.254', '0xa9fea9fe', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.0.2.1', '192.168.0.1',
    '192.88.99.1', '198.18.0.1', '198.51.100.1', '203.0.113.1', '224.0.0.1', '240.0.0.1', '255.255.255.255',
    '\uff11\uff12\uff17.0.0.1', '[::]', '[::1]', '[::ffff:127.0.0.1]', '[::ffff:8.8.8.8]', '[::ffff:7f00:1]', '[::127.0.0.1]',
    '[64:ff9b::7f00:1]', '[64:ff9b:1::1]', '[100::1]', '[2001::1]', '[2001:db8::1]', '[2001:10::1]', '[2002:7f00:1::1]', '[3fff::1]',
    '[4000::1]', '[5f00::1]', '[fc00::1]', '[fd00::1]', '[fe80::1]', '[fec0::1]', '[ff02::1]', '[::ffff:0:7f00:1]'
  ]
  for (const address of addresses) {
    t.match(refusalOf(`https://${address}/`), /^must lead to a public address: this one is \w/, address)
  }
  for (const address of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '[2606:4700::1111]', '[2a00:1450::1]']) {
    t.equal(refusalOf(`https://${address}/`), undefined, address)
  }
})

t.test('the addresses of a name are checked in the same way', async t => {
  t.equal(findRefusedRange([], '10.1.2.3', 443), 'private')
  t.equal(findRefusedRange([], '::ffff:10.1.2.3', 443), 'ipv4Mapped')
  t.equal(findRefusedRange(allow('10.0.0.0/8'), '10.1.2.3', 443), undefined)
  t.equal(findRefusedRange(allow('10.0.0.0/8'), '::ffff:10.1.2.3', 443), 'ipv4Mapped')
  t.equal(findRefusedRange(allow('10.1.2.3:80'), '10.1.2.3', 443), 'private')
  t.equal(findRefusedRange(allow('10.1.2.3:443'), '10.1.2.3', 443), undefined)
  t.equal(findRefusedRange(allow('10.0.0.0/8'), 'fd00::1', 443), 'uniqueLocal')
  t.equal(findRefusedRange([], 'fe80::1%eth0', 443), 'linkLocal')
  t.equal(findRefusedRange([], 'not an address', 443), 'unknown')
  t.equal(findRefusedRange(allow('hook.example'), '10.1.2.3', 443), 'private', 'a host is no address')
})

t.test('without TLS only what the operator names is called', async t => {
  t.match(refusalOf('http://h.example/'), /^must begin with https:/)
  t.match(refusalOf('http://8.8.8.8/'), /^must begin with https:/)
  t.match(refusalOf('http://h.example/', '10.0.0.0/8'), /^must begin with https:/, 'the range of a name is not known yet')
  t.match(refusalOf('http://h.example:81/', 'h.example:80'), /^must begin with https:/)
  t.equal(refusalOf('http://h.example/', 'h.example:80'), undefined)
  t.equal(refusalOf('http://h.example./', 'h.example'), undefined)
  t.equal(refusalOf('http://10.1.2.3:5678/', '10.0.0.0/8'), undefined)
  t.equal(refusalOf('http://127.0.0.1:5678/', '127.0.0.1'), undefined)
  t.equal(refusalOf('https://[::1]/', '::1'), undefined)
  t.match(refusalOf('https://127.0.0.1/', 'localhost'), /loopback/)
  t.equal(refusalOf('https://localhost/'), undefined, 'its addresses are checked when it is called')
})
