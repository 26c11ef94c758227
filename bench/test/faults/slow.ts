import { Server } from 'node:http'

/*
 * A service that takes 60 ms longer for everything: loaded before it, it holds back each request that Node hands on.
 */

const delayMs = 60

const emit = Server.prototype.emit
Server.prototype.emit = function (this: Server, ...event: unknown[]) {
  const hand = () => Reflect.apply(emit, this, event) as boolean
  if (event[0] !== 'request') return hand()
  setTimeout(hand, delayMs)
  return true
}
