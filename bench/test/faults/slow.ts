import { Server } from 'node:http'

/*
 * A fault: the service takes 60 ms longer for each request. Loaded before the service, it delays the event `request`.
 */

const delayMs = 60

const emit = Server.prototype.emit
Server.prototype.emit = function (this: Server, ...event: unknown[]) {
  const emitNow = () => Reflect.apply(emit, this, event) as boolean
  if (event[0] !== 'request') return emitNow()
  setTimeout(emitNow, delayMs)
  return true
}
