import { runService } from './serve/run-service.ts'

await runService()
