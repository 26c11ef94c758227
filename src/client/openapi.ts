// Made by `npm run client:types` from the OpenAPI document.
export interface paths {
    "/api/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow the changes of all jobs
         * @description The changes of all jobs that the token may read, as the jobs are now. List the jobs first and follow from the
         *     Changes-Cursor of the list: then no change is missed. Each page has a cursor for the next request. With `wait` the
         *     response is held until there is an item.
         *
         *     Several changes of a job may be one item, and an item may come again; the versions of a job never fall. `job` is the
         *     job as in a list, or null where it was removed or the token may no longer read it. A page has at most 1 MiB. One
         *     request examines at most 10,000 changes of all tenants, so a page can be short or empty although `hasMore` is true.
         *
         *     With `Accept: text/event-stream` the same as a stream without end: each item is an event, `status` or `gone`, with the
         *     item as its data and its cursor as the id. `limit` and `wait` mean nothing there.
         */
        get: operations["followTasks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List jobs: by their ids, or newest first
         * @description With `ids`: these jobs, in the order of the ids. Without: one page of the list, newest first. A page can
         *     be short or empty and still have a nextCursor; it has at most 1 MiB. Jobs that are accepted between two pages neither
         *     shift nor repeat others. Of a failure of more than 4,000 characters a list shows the code and the beginning of the
         *     message; the status of the job has more.
         *
         *     With `wait`, which needs `ids`, the response is held until all jobs are terminal, gone or unknown; with `wait` and
         *     `If-None-Match` until any of them has changed.
         */
        get: operations["listTasks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/jobs/{taskId}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a task
         * @description A queued job is cancelled at once. The worker of a running job gets the request with its next
         *     report; after CANCEL_GRACE_SECONDS the service cancels the job itself. Repeating the request has no effect. Send no body,
         *     or `{}`. With `wait` the response is held until the job has ended: 200 if it was cancelled, otherwise 409.
         */
        post: operations["cancelTask"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/jobs/{taskId}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The events of a task
         * @description A stream of events (text/event-stream): the status as it is, then each newer one, as `event: status`
         *     with the body of the status route as its data. After that of a finished job the stream ends. `event: gone`: the job was
         *     erased, or is no longer yours to see. A client that reconnects with the Last-Event-ID of the last event gets 204. A client
         *     that reads slowly gets the newest status and misses those between.
         */
        get: operations["streamTaskEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/jobs/{taskId}/result": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The result of a task
         * @description Resume a download with `Range` and the ETag in `If-Range`. HEAD ignores Range.
         *
         *     `partial=true` returns the bytes that a running job has uploaded so far. Continue with `offset` from
         *     `Job-Result-Offset` until `Job-Result` is `complete`. Bytes belong together as long as `Job-Attempt` stays the same:
         *     another attempt produces the result again from the start. The response is 202 before the job runs, and while no bytes of
         *     a running job are available.
         *
         *     `wait` holds the response while it would be 202.
         */
        get: operations["getTaskResult"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/jobs/{taskId}/status": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The status of a task
         * @description `success` says that this call worked, `data.isSuccess` that the job did.
         */
        get: operations["getTaskStatus"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/sanitize": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Sanitize a content at once
         * @description For contents of up to 1 MiB, in JSON of up to 4 MiB; send larger ones to /api/sanitize/async. The response format never changes.
         */
        post: operations["sanitize"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/sanitize/async": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Sanitize a content as a job
         * @description Takes the JSON of `/api/sanitize`, or the content as raw bytes of up to INPUT_BYTES_MAX, which are
         *     stored as they arrive. The result is the sanitized content; the counts of what was removed are in the status and in the
         *     table SanitizationEvent. HTML of more than 4 MiB fails with INPUT_TOO_LARGE. With `wait` the response is held until the
         *     job has ended, and shows its end. Only JSON can name a callbackUrl.
         */
        post: operations["sanitizeAsync"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow the changes of all jobs
         * @description The changes of all jobs that the token may read, as the jobs are now. List the jobs first and follow from the
         *     Changes-Cursor of the list: then no change is missed. Each page has a cursor for the next request. With `wait` the
         *     response is held until there is an item.
         *
         *     Several changes of a job may be one item, and an item may come again; the versions of a job never fall. `job` is the
         *     job as in a list, or null where it was removed or the token may no longer read it. A page has at most 1 MiB. One
         *     request examines at most 10,000 changes of all tenants, so a page can be short or empty although `hasMore` is true.
         *
         *     With `Accept: text/event-stream` the same as a stream without end: each item is an event, `status` or `gone`, with the
         *     item as its data and its cursor as the id. `limit` and `wait` mean nothing there.
         */
        get: operations["followJobs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List jobs: by their ids, or newest first
         * @description With `ids`: these jobs, in the order of the ids. Without: one page of the list, newest first. A page can
         *     be short or empty and still have a nextCursor; it has at most 1 MiB. Jobs that are accepted between two pages neither
         *     shift nor repeat others. Of a failure of more than 4,000 characters a list shows the code and the beginning of the
         *     message; the status of the job has more.
         *
         *     With `wait`, which needs `ids`, the response is held until all jobs are terminal, gone or unknown; with `wait` and
         *     `If-None-Match` until any of them has changed.
         */
        get: operations["listJobs"];
        put?: never;
        /**
         * Submit a job
         * @description The response is always 202: poll Location after Retry-After. A repeated request with the same
         *     Idempotency-Key returns the same job. With `wait` the response is held until the job has ended, and shows its end.
         */
        post: operations["submitJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The status of a job
         * @description A known job is always 200, a failed one too. Poll no sooner than Retry-After says, with If-None-Match.
         */
        get: operations["getJobStatus"];
        put?: never;
        post?: never;
        /**
         * Erase a finished job
         * @description Erases the job and everything that belongs to it. From then on the job is 410 JOB_EXPIRED.
         */
        delete: operations["eraseJob"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/attempts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The attempts of a job
         * @description The last 50 runs of the job, oldest first, with the failure that each ended with. `outcome` is null
         *     while a run goes on. A job that another engine wrote has none. They are erased with the job.
         */
        get: operations["listAttempts"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/callbacks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The callbacks of a job
         * @description `waiting`: for the end of the job. `pending`: a try is due or under way; after a failure there is another one, up to
         *     13 within some 33 hours. `delivered`: the receiver answered 2xx. `failed`: it answered 410, or none of the tries
         *     succeeded. They are erased with the job.
         */
        get: operations["listCallbacks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/callbacks/{callbackId}/redeliver": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Call a callback URL again
         * @description Makes one try now, whatever the state is, at most once a minute. A try of a callback that is
         *     pending counts as its next one; after the last try, it is a single one. Send no body, or `{}`.
         */
        post: operations["redeliverCallback"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a job
         * @description A queued job is cancelled at once. The worker of a running job gets the request with its next
         *     report; after CANCEL_GRACE_SECONDS the service cancels the job itself. Repeating the request has no effect. Send no body,
         *     or `{}`. With `wait` the response is held until the job has ended: 200 if it was cancelled, otherwise 409.
         */
        post: operations["cancelJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The events of a job
         * @description A stream of events (text/event-stream): the status as it is, then each newer one, as `event: status`
         *     with the body of the status route as its data. After that of a finished job the stream ends. `event: gone`: the job was
         *     erased, or is no longer yours to see. A client that reconnects with the Last-Event-ID of the last event gets 204. A client
         *     that reads slowly gets the newest status and misses those between.
         */
        get: operations["streamJobEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/input": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The input of a job
         * @description The input as it was sent: the JSON text with every digit, or the bytes of a raw body with their media type. It is kept as
         *     long as the record of the job. A job that another engine wrote has none, nor has one that ended under a release that
         *     did not keep inputs.
         */
        get: operations["getSubmittedInput"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/jobs/{jobId}/result": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The result of a job
         * @description Resume a download with `Range` and the ETag in `If-Range`. HEAD ignores Range.
         *
         *     `partial=true` returns the bytes that a running job has uploaded so far. Continue with `offset` from
         *     `Job-Result-Offset` until `Job-Result` is `complete`. Bytes belong together as long as `Job-Attempt` stays the same:
         *     another attempt produces the result again from the start. The response is 202 before the job runs, and while no bytes of
         *     a running job are available.
         *
         *     `wait` holds the response while it would be 202.
         */
        get: operations["getJobResult"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/service": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The state of the service
         * @description The gauges of the process that answers, and its samples of the last hour, which it keeps in memory. Nothing of a single
         *     job is in it. A client that draws them asks for all once, and then for those `since` the last one it has.
         */
        get: operations["getService"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/claim": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Claim a job
         * @description Returns the job that has waited longest among the types, or 204. With `wait` the response is held
         *     until a job is available. Two workers never hold the same job.
         */
        post: operations["claimJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/jobs/{jobId}/complete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Complete a run
         * @description With an empty body, or `{}`, the uploaded bytes are the result; without an upload the job has
         *     none. Otherwise the body holds the result as JSON, or its URL.
         */
        post: operations["completeJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/jobs/{jobId}/fail": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Fail a run
         * @description The job is queued again after 1 s, 2 s, 4 s … 60 s. It fails if the failure is not retryable or no
         *     attempt is left, and is cancelled if cancellation was requested.
         */
        post: operations["failJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/jobs/{jobId}/input": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The input of a claimed job
         * @description What the client submitted, as it was sent. Like every report, the request renews the lease.
         */
        get: operations["getJobInput"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/jobs/{jobId}/progress": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Report progress and renew the lease
         * @description An empty body, or `{}`, is a heartbeat: it renews the lease, and clients see no change.
         */
        post: operations["reportProgress"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/jobs/{jobId}/release": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Release a run
         * @description Gives the job back unfinished: it can be claimed at once, and the attempt does not count. The next run has its number
         *     and begins its result from the start.
         */
        post: operations["releaseJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/worker/jobs/{jobId}/result": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Upload the result, in one or more requests
         * @description The service stores the bytes as they arrive, and clients can read them at once with `?partial=true`.
         *     Resume an interrupted upload at the offset that 409 OFFSET_MISMATCH returns.
         */
        put: operations["uploadResult"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/livez": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Whether the process is alive
         * @description For liveness probes. It reads nothing.
         */
        get: operations["getLiveness"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Metrics
         * @description In the Prometheus text format. Where METRICS_TOKEN is set, it is the bearer token of this route.
         */
        get: operations["getMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Whether the service can answer requests
         * @description For readiness probes: the state of the store and the cache, and since when.
         */
        get: operations["getReadiness"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * @description Which error it is. Later versions may add codes.
         * @enum {string}
         */
        ErrorCode: "VALIDATION_FAILED" | "CALLBACK_REFUSED" | "INVALID_TASK_ID" | "UNAUTHORIZED" | "FORBIDDEN" | "NOT_FOUND" | "JOB_NOT_FOUND" | "NO_RESULT" | "METHOD_NOT_ALLOWED" | "REQUEST_TIMEOUT" | "LEASE_LOST" | "OFFSET_MISMATCH" | "JOB_ACTIVE" | "JOB_FINISHED" | "JOB_FAILED" | "JOB_CANCELLED" | "JOB_NOT_OURS" | "JOB_EXPIRED" | "RESULT_EXPIRED" | "CURSOR_EXPIRED" | "PRECONDITION_FAILED" | "PAYLOAD_TOO_LARGE" | "UNSUPPORTED_MEDIA_TYPE" | "RANGE_NOT_SATISFIABLE" | "IDEMPOTENCY_KEY_REUSED" | "RATE_LIMITED" | "HEADERS_TOO_LARGE" | "INTERNAL" | "STORE_UNAVAILABLE" | "OVERLOADED";
        FieldError: {
            /** @description Path of the field, like `input.format`; `body` for the whole body. */
            field: string;
            message: string;
            rule: string;
        };
        JobChanges: {
            /** @description The `since` of the next request. */
            cursor: string;
            /** @description Whether there may be more changes already: ask again at once. */
            hasMore: boolean;
            items: {
                /** @description The place after this item. */
                cursor: string;
                /** @description As in a list; null: the job is gone, or is no longer for this token. */
                job: {
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    endTime: string | null;
                    errorDetails: {
                        code: string;
                        /** @description What the worker reported, with every digit of its numbers. */
                        details?: unknown;
                        message: string;
                    } | null;
                    jobId: string;
                    /** @description Where the result is, once the job succeeded with one. */
                    resultUrl: string | null;
                    /**
                     * Format: date-time
                     * @description When the job was accepted while it is first queued, then when the latest run began. ISO 8601, UTC.
                     */
                    startTime: string;
                    /** @enum {string} */
                    status: "Queued" | "Running" | "Succeeded" | "Failed";
                } | null;
                jobId: string;
                /** @description The versions of one job never fall. */
                version: number;
            }[];
        };
        JobPage: {
            items: components["schemas"]["JobStatus"][];
            /** @description The cursor of the next page; null on the last page. */
            nextCursor: string | null;
        };
        JobsById: {
            /** @description Ids of jobs whose record has been removed. */
            expired: string[];
            items: components["schemas"]["JobStatus"][];
            /** @description Ids of no job that is visible to this token. */
            notFound: string[];
        };
        JobStatus: {
            /**
             * Format: date-time
             * @description ISO 8601, UTC
             */
            endTime: string | null;
            errorDetails: {
                code: string;
                /** @description What the worker reported, with every digit of its numbers. */
                details?: unknown;
                message: string;
            } | null;
            jobId: string;
            /** @description Where the result is, once the job succeeded with one. */
            resultUrl: string | null;
            /**
             * Format: date-time
             * @description When the job was accepted while it is first queued, then when the latest run began. ISO 8601, UTC.
             */
            startTime: string;
            /** @enum {string} */
            status: "Queued" | "Running" | "Succeeded" | "Failed";
        };
        PartHealth: {
            kind: string;
            /** @enum {string} */
            mode?: "on" | "warm" | "off";
            reason: string | null;
            /** Format: date-time */
            since: string;
            /** @enum {string} */
            status: "ok" | "degraded" | "down";
        };
        Problem: {
            code: components["schemas"]["ErrorCode"];
            detail: string;
            errors?: components["schemas"]["FieldError"][];
            /**
             * Format: date-time
             * @description ISO 8601, UTC
             */
            expiredAt?: string;
            /** @description The path of the request. */
            instance: string;
            jobStatus?: string;
            /** @description The offset of the next bytes of the result. */
            offset?: number;
            status: number;
            title: string;
            type: string;
        };
        Readiness: {
            cache: components["schemas"]["PartHealth"];
            /** @enum {string} */
            status: "ready" | "degraded" | "unavailable" | "draining";
            store: components["schemas"]["PartHealth"];
        };
        ServiceSample: {
            /**
             * Format: date-time
             * @description ISO 8601, UTC
             */
            at: string;
            /**
             * @description `on`: used. `warm`: written, not yet read. `off`: every read goes to the store.
             * @enum {string}
             */
            cacheMode: "on" | "warm" | "off";
            claimsPerMinute: number;
            endsPerMinute: number;
            isStoreUp: boolean;
            /** @description From the end of a job to the first response of this process that showed it. */
            noticeSeconds: {
                count: number;
                p50: number;
                p95: number;
                p99: number;
            } | null;
            /** @description Unfinished jobs in the database by type; empty while they cannot be counted. */
            queue: {
                oldestSeconds: number | null;
                queued: number;
                running: number;
                /** @description As in the metrics: types that are not known are `other`. */
                type: string;
            }[];
            /** @description Of the requests to the API, without long polls, claims and downloads. */
            requestSeconds: {
                count: number;
                p50: number;
                p95: number;
                p99: number;
            } | null;
            waitingClients: {
                feeds: number;
                longPolls: number;
                streams: number;
            };
        };
        ServiceState: {
            cache: {
                kind: string;
                /**
                 * @description `on`: used. `warm`: written, not yet read. `off`: every read goes to the store.
                 * @enum {string}
                 */
                mode: "on" | "warm" | "off";
                reason: string | null;
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                since: string;
                /** @enum {string} */
                status: "ok" | "degraded" | "down";
            };
            /** @description The last 100 changes of the mode, oldest first. */
            cacheHistory: {
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                at: string;
                /**
                 * @description `on`: used. `warm`: written, not yet read. `off`: every read goes to the store.
                 * @enum {string}
                 */
                mode: "on" | "warm" | "off";
                reason: string | null;
            }[];
            current: components["schemas"]["ServiceSample"];
            /**
             * Format: date-time
             * @description ISO 8601, UTC
             */
            observedAt: string;
            process: {
                /** @description Another one after each start. */
                id: string;
                isDraining: boolean;
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                startedAt: string;
                workers: number;
            };
            /** @description null where none is configured. */
            redis: {
                isReachable: boolean;
                /** @enum {string} */
                kind: "redis" | "redis-sentinel" | "redis-cluster";
            } | null;
            /** @description Those of the last hour, oldest first; what changed is counted from one to the next. */
            samples: components["schemas"]["ServiceSample"][];
            /** @description The time between two samples. */
            sampleSeconds: number;
            store: {
                kind: string;
                reason: string | null;
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                since: string;
                /** @enum {string} */
                status: "ok" | "degraded" | "down";
            };
        };
        TaskChanges: {
            /** @description The `since` of the next request. */
            cursor: string;
            /** @description Whether there may be more changes already: ask again at once. */
            hasMore: boolean;
            items: {
                /** @description The place after this item. */
                cursor: string;
                /** @description As in a list; null: the job is gone, or is no longer for this token. */
                job: {
                    /** @description Runs so far; 0 before the first. */
                    attempt: number;
                    /** @description Whether the job was asked to stop. */
                    cancelRequested: boolean;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    createdAt: string;
                    /**
                     * Format: date-time
                     * @description When it was removed.
                     */
                    expiredAt: string | null;
                    /**
                     * Format: date-time
                     * @description When the stored result is due to be removed.
                     */
                    expiresAt: string | null;
                    failure: {
                        code: string;
                        /** @description What the worker reported, with every digit of its numbers. */
                        details?: unknown;
                        message: string;
                    } | null;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    finishedAt: string | null;
                    /** @description Whether the job worked; `success` beside `data` says that this call did. */
                    isSuccess: boolean;
                    isTerminal: boolean;
                    /** @description Whether the running attempt has sent bytes of its result already. */
                    partialResultAvailable: boolean;
                    /** @description Ask again after this many milliseconds; null when nothing will change. */
                    pollAfterMs: number | null;
                    progress: {
                        done: number | null;
                        etaSeconds: number | null;
                        message: string | null;
                        percent: number;
                        stage: string | null;
                        total: number | null;
                    };
                    /** @description A JSON result of at most 16 KiB, once succeeded; else null. */
                    result: unknown;
                    resultAvailable: boolean;
                    resultUrl: string | null;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    startedAt: string | null;
                    /** @enum {string} */
                    status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
                    taskId: string;
                    type: string | null;
                    version: number;
                } | null;
                jobId: string;
                /** @description The versions of one job never fall. */
                version: number;
            }[];
        };
        TaskError: {
            error: {
                code: components["schemas"]["ErrorCode"];
                details?: {
                    errors?: components["schemas"]["FieldError"][];
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    expiredAt?: string;
                    jobStatus?: string;
                    /** @description The offset of the next bytes of the result. */
                    offset?: number;
                };
                message: string;
            };
            /** @enum {boolean} */
            success: false;
        };
        TaskPage: {
            data: {
                /** @description Without inline results: `result` is null. */
                items: {
                    /** @description Runs so far; 0 before the first. */
                    attempt: number;
                    /** @description Whether the job was asked to stop. */
                    cancelRequested: boolean;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    createdAt: string;
                    /**
                     * Format: date-time
                     * @description When it was removed.
                     */
                    expiredAt: string | null;
                    /**
                     * Format: date-time
                     * @description When the stored result is due to be removed.
                     */
                    expiresAt: string | null;
                    failure: {
                        code: string;
                        /** @description What the worker reported, with every digit of its numbers. */
                        details?: unknown;
                        message: string;
                    } | null;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    finishedAt: string | null;
                    /** @description Whether the job worked; `success` beside `data` says that this call did. */
                    isSuccess: boolean;
                    isTerminal: boolean;
                    /** @description Whether the running attempt has sent bytes of its result already. */
                    partialResultAvailable: boolean;
                    /** @description Ask again after this many milliseconds; null when nothing will change. */
                    pollAfterMs: number | null;
                    progress: {
                        done: number | null;
                        etaSeconds: number | null;
                        message: string | null;
                        percent: number;
                        stage: string | null;
                        total: number | null;
                    };
                    /** @description A JSON result of at most 16 KiB, once succeeded; else null. */
                    result: unknown;
                    resultAvailable: boolean;
                    resultUrl: string | null;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    startedAt: string | null;
                    /** @enum {string} */
                    status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
                    taskId: string;
                    type: string | null;
                    version: number;
                }[];
                /** @description The cursor of the next page; null on the last page. */
                nextCursor: string | null;
            };
            /** @enum {boolean} */
            success: true;
        };
        TasksById: {
            data: {
                /** @description Ids of jobs whose record has been removed. */
                expired: string[];
                /** @description Without inline results: `result` is null. */
                items: {
                    /** @description Runs so far; 0 before the first. */
                    attempt: number;
                    /** @description Whether the job was asked to stop. */
                    cancelRequested: boolean;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    createdAt: string;
                    /**
                     * Format: date-time
                     * @description When it was removed.
                     */
                    expiredAt: string | null;
                    /**
                     * Format: date-time
                     * @description When the stored result is due to be removed.
                     */
                    expiresAt: string | null;
                    failure: {
                        code: string;
                        /** @description What the worker reported, with every digit of its numbers. */
                        details?: unknown;
                        message: string;
                    } | null;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    finishedAt: string | null;
                    /** @description Whether the job worked; `success` beside `data` says that this call did. */
                    isSuccess: boolean;
                    isTerminal: boolean;
                    /** @description Whether the running attempt has sent bytes of its result already. */
                    partialResultAvailable: boolean;
                    /** @description Ask again after this many milliseconds; null when nothing will change. */
                    pollAfterMs: number | null;
                    progress: {
                        done: number | null;
                        etaSeconds: number | null;
                        message: string | null;
                        percent: number;
                        stage: string | null;
                        total: number | null;
                    };
                    /** @description A JSON result of at most 16 KiB, once succeeded; else null. */
                    result: unknown;
                    resultAvailable: boolean;
                    resultUrl: string | null;
                    /**
                     * Format: date-time
                     * @description ISO 8601, UTC
                     */
                    startedAt: string | null;
                    /** @enum {string} */
                    status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
                    taskId: string;
                    type: string | null;
                    version: number;
                }[];
                /** @description Ids of no job that is visible to this token. */
                notFound: string[];
            };
            /** @enum {boolean} */
            success: true;
        };
        TaskStatus: {
            data: {
                /** @description Runs so far; 0 before the first. */
                attempt: number;
                /** @description Whether the job was asked to stop. */
                cancelRequested: boolean;
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                createdAt: string;
                /**
                 * Format: date-time
                 * @description When it was removed.
                 */
                expiredAt: string | null;
                /**
                 * Format: date-time
                 * @description When the stored result is due to be removed.
                 */
                expiresAt: string | null;
                failure: {
                    code: string;
                    /** @description What the worker reported, with every digit of its numbers. */
                    details?: unknown;
                    message: string;
                } | null;
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                finishedAt: string | null;
                /** @description Whether the job worked; `success` beside `data` says that this call did. */
                isSuccess: boolean;
                isTerminal: boolean;
                /**
                 * Format: date-time
                 * @description With `fresh` only: the time of the response.
                 */
                observedAt?: string;
                /** @description Whether the running attempt has sent bytes of its result already. */
                partialResultAvailable: boolean;
                /** @description Ask again after this many milliseconds; null when nothing will change. */
                pollAfterMs: number | null;
                progress: {
                    done: number | null;
                    etaSeconds: number | null;
                    message: string | null;
                    percent: number;
                    stage: string | null;
                    total: number | null;
                };
                /** @description A JSON result of at most 16 KiB, once succeeded; else null. */
                result: unknown;
                resultAvailable: boolean;
                resultUrl: string | null;
                /**
                 * Format: date-time
                 * @description ISO 8601, UTC
                 */
                startedAt: string | null;
                /** @enum {string} */
                status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
                taskId: string;
                type: string | null;
                version: number;
            };
            /** @enum {boolean} */
            success: true;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    followTasks: {
        parameters: {
            query?: {
                /** @description The most items of a page. Default: 100. */
                limit?: number;
                /** @description The changes after this place: a cursor of the feed, or the Changes-Cursor of a list. Default: from now on. */
                since?: string;
                /** @description Only jobs of this type. Items whose job is null are returned whatever their type. */
                type?: string;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Of a stream: the id of the last event, in place of since. */
                "last-event-id"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The changes. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskChanges"];
                    "text/event-stream": string;
                };
            };
        };
    };
    listTasks: {
        parameters: {
            query?: {
                /** @description Only jobs accepted after this time, ISO 8601; UTC unless it has an offset. */
                createdAfter?: string;
                /** @description Only jobs accepted before this time, ISO 8601; UTC unless it has an offset. */
                createdBefore?: string;
                /** @description The nextCursor of the previous page. */
                cursor?: string;
                /** @description Only jobs whose id begins like this. */
                idPrefix?: string;
                /** @description Up to 100 ids, separated by commas. Not allowed with other parameters than wait. */
                ids?: string;
                /** @description The most jobs on a page. Default: 50. */
                limit?: number;
                /** @description Only jobs of these statuses, separated by commas. */
                status?: string;
                /** @description Only jobs of this type. */
                type?: string;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags that the client has; the response to a match is 304. */
                "if-none-match"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The jobs. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskPage"] | components["schemas"]["TasksById"];
                };
            };
            /** @description The client has these versions already. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    cancelTask: {
        parameters: {
            query?: {
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags of which none may be that of the job as it is. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The jobId.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                taskId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Cancelled, now or before. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskStatus"];
                };
            };
            /** @description Running; the worker will be asked to stop. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskStatus"];
                };
            };
        };
    };
    streamTaskEvents: {
        parameters: {
            query?: never;
            header?: {
                /** @description The id of the last event that the client got. */
                "last-event-id"?: string;
            };
            path: {
                /**
                 * @description The jobId.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                taskId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The events. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description The job has finished, and the client has its last status. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getTaskResult: {
        parameters: {
            query?: {
                /** @description The first byte to return; with `partial` only. Default: 0. */
                offset?: number;
                /** @description Also return what a running job has uploaded so far. */
                partial?: boolean;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the response; otherwise it is 412. */
                "if-match"?: string;
                /** @description Entity tags that the client has; the response to a match is 304. */
                "if-none-match"?: string;
                /** @description The ETag of the bytes that the client has. Range is ignored if the ETag differs. */
                "if-range"?: string;
                /** @description One range of bytes, like `bytes=0-1023`, `bytes=1024-` or `bytes=-1024`. Several ranges are ignored. */
                range?: string;
            };
            path: {
                /**
                 * @description The jobId.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                taskId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The stored bytes; with `partial` those from `offset` on. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/json": unknown;
                    "application/octet-stream": string;
                    "text/*": string;
                };
            };
            /** @description The job has not finished: its status. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskStatus"];
                };
            };
            /** @description The bytes of one range. */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/octet-stream": string;
                };
            };
            /** @description The result is stored at another URL. */
            303: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The client already has this result. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getTaskStatus: {
        parameters: {
            query?: {
                /** @description For clients that give up on identical responses: each has its own `observedAt`, no ETag, and is to be stored nowhere; If-None-Match is ignored. Default: false. */
                fresh?: boolean;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags that the client has; the response to a match is 304. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The jobId.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                taskId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The task as it is. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskStatus"];
                };
            };
            /** @description The client has this version already. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    sanitize: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    content: string;
                    /** @enum {string} */
                    contentType: "text/html" | "text/plain" | "application/json";
                    options?: {
                        /**
                         * @description Default: NFC.
                         * @enum {string|null}
                         */
                        normalization?: "NFC" | "NFKC" | "none" | null;
                    } | null;
                };
            };
        };
        responses: {
            /** @description The sanitized content, and counts of what was removed. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        data: {
                            contentType: string;
                            /** @description Counts of what was removed, by kind; kinds with count 0 are absent. */
                            removed: {
                                [key: string]: number;
                            };
                            sanitized: string;
                        };
                        /** @enum {boolean} */
                        success: true;
                    };
                };
            };
        };
    };
    sanitizeAsync: {
        parameters: {
            query?: {
                /** @description Of a raw body. Default: NFC. */
                normalization?: "NFC" | "NFKC" | "none";
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Stored for 24 hours, per tenant. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /** @description The key that signs calls of this URL, in place of the service's: whsec_ and the Base64 of 24 to 64 bytes. Never shown again. */
                    callbackSecret?: string | null;
                    /**
                     * @description An https URL that gets a POST when the job has ended, signed after Standard Webhooks. It must lead to a
                     *     public address, unless CALLBACK_HOSTS_ALLOWED names the host. A repeated submission with another URL adds it; a job has at
                     *     most 5.
                     */
                    callbackUrl?: string | null;
                    content: string;
                    /** @enum {string} */
                    contentType: "text/html" | "text/plain" | "application/json";
                    options?: {
                        /**
                         * @description Default: NFC.
                         * @enum {string|null}
                         */
                        normalization?: "NFC" | "NFKC" | "none" | null;
                    } | null;
                };
                "application/x-ndjson": string;
                "text/html": string;
                "text/plain": string;
            };
        };
        responses: {
            /** @description Accepted: the URLs of the status, the result and the cancellation. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        data: {
                            /** Format: uri */
                            cancelUrl: string;
                            /** Format: uri */
                            resultUrl: string;
                            /** @enum {string} */
                            status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
                            /** Format: uri */
                            statusUrl: string;
                            taskId: string;
                        };
                        /** @enum {boolean} */
                        success: true;
                    };
                };
            };
        };
    };
    followJobs: {
        parameters: {
            query?: {
                /** @description The most items of a page. Default: 100. */
                limit?: number;
                /** @description The changes after this place: a cursor of the feed, or the Changes-Cursor of a list. Default: from now on. */
                since?: string;
                /** @description Only jobs of this type. Items whose job is null are returned whatever their type. */
                type?: string;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Of a stream: the id of the last event, in place of since. */
                "last-event-id"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The changes. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobChanges"];
                    "text/event-stream": string;
                };
            };
        };
    };
    listJobs: {
        parameters: {
            query?: {
                /** @description Only jobs accepted after this time, ISO 8601; UTC unless it has an offset. */
                createdAfter?: string;
                /** @description Only jobs accepted before this time, ISO 8601; UTC unless it has an offset. */
                createdBefore?: string;
                /** @description The nextCursor of the previous page. */
                cursor?: string;
                /** @description Only jobs whose id begins like this. */
                idPrefix?: string;
                /** @description Up to 100 ids, separated by commas. Not allowed with other parameters than wait. */
                ids?: string;
                /** @description The most jobs on a page. Default: 50. */
                limit?: number;
                /** @description Only jobs of these statuses, separated by commas; cancelled jobs are Failed. */
                status?: string;
                /** @description Only jobs of this type. */
                type?: string;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags that the client has; the response to a match is 304. */
                "if-none-match"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The jobs. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobPage"] | components["schemas"]["JobsById"];
                };
            };
            /** @description The client has these versions already. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    submitJob: {
        parameters: {
            query?: {
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Stored for 24 hours, per tenant. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /** @description The key that signs calls of this URL, in place of the service's: whsec_ and the Base64 of 24 to 64 bytes. Never shown again. */
                    callbackSecret?: string | null;
                    /**
                     * @description An https URL that gets a POST when the job has ended, signed after Standard Webhooks. It must lead to a
                     *     public address, unless CALLBACK_HOSTS_ALLOWED names the host. A repeated submission with another URL adds it; a job has at
                     *     most 5.
                     */
                    callbackUrl?: string | null;
                    /** @description Any JSON value; the type determines its shape. */
                    input: unknown;
                    /** @description The most attempts before the job fails. Default: 3. */
                    maxAttempts?: number | null;
                    /** @description How long the stored result is kept. Default and maximum: the retention time of the service. */
                    retentionSeconds?: number | null;
                    /** @description The time limit of one attempt. Default: no limit. */
                    timeoutSeconds?: number | null;
                    /** @description The type of job: report, sanitize, or a type that your own workers claim. */
                    type: string;
                };
            };
        };
        responses: {
            /** @description Accepted: the six fields of the status, and the URLs of both views. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * Format: date-time
                         * @description ISO 8601, UTC
                         */
                        endTime: string | null;
                        errorDetails: {
                            code: string;
                            /** @description What the worker reported, with every digit of its numbers. */
                            details?: unknown;
                            message: string;
                        } | null;
                        jobId: string;
                        /** @description Where the result is, once the job succeeded with one. */
                        resultUrl: string | null;
                        /**
                         * Format: date-time
                         * @description When the job was accepted while it is first queued, then when the latest run began. ISO 8601, UTC.
                         */
                        startTime: string;
                        /** @enum {string} */
                        status: "Queued" | "Running" | "Succeeded" | "Failed";
                        /**
                         * Format: uri
                         * @description The absolute URL of the status.
                         */
                        statusUrl: string;
                        /**
                         * Format: uri
                         * @description The absolute URL of the status in the task view.
                         */
                        taskUrl: string;
                    };
                };
            };
        };
    };
    getJobStatus: {
        parameters: {
            query?: {
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags that the client has; the response to a match is 304. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The job as it is. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
            /** @description The client has this version already. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    eraseJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags of which none may be that of the job as it is. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Erased. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listAttempts: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The attempts. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        items: {
                            /** @description A released run gives its number to the next one. */
                            attempt: number;
                            /** Format: date-time */
                            endedAt: string | null;
                            failure: {
                                code: string;
                                message: string;
                            } | null;
                            /** @enum {string|null} */
                            outcome: "succeeded" | "failed" | "cancelled" | "released" | "lease-lost" | "timed-out" | null;
                            /** Format: date-time */
                            startedAt: string;
                        }[];
                    };
                };
            };
        };
    };
    listCallbacks: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The callbacks, in the order in which they were added. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        items: {
                            /** @description The webhook-id of every try. */
                            id: string;
                            /** @description Why the last try failed. */
                            lastError: string | null;
                            /** @description The HTTP status of the last try; null if there was no response. */
                            lastStatus: number | null;
                            /** Format: date-time */
                            lastTriedAt: string | null;
                            /** Format: date-time */
                            nextTryAt: string | null;
                            /** @enum {string} */
                            state: "waiting" | "pending" | "delivered" | "failed";
                            /** @description Tries that have ended. */
                            tries: number;
                            /** @description Origin and path: the query may hold a secret. */
                            url: string;
                        }[];
                    };
                };
            };
        };
    };
    redeliverCallback: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The id of the callback, from the list.
                 * @example cb_0b1d7c0e-52a4-4c0f-8a4e-7e0b6f6f9c11
                 */
                callbackId: string;
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A try is due now, or under way. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    cancelJob: {
        parameters: {
            query?: {
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the job as it is; otherwise the response is 412. */
                "if-match"?: string;
                /** @description Entity tags of which none may be that of the job as it is. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Cancelled, now or before. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
            /** @description Running; the worker will be asked to stop. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
        };
    };
    streamJobEvents: {
        parameters: {
            query?: never;
            header?: {
                /** @description The id of the last event that the client got. */
                "last-event-id"?: string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The events. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description The job has finished, and the client has its last status. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getSubmittedInput: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The input. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/json": unknown;
                    "application/octet-stream": string;
                    "text/*": string;
                };
            };
        };
    };
    getJobResult: {
        parameters: {
            query?: {
                /** @description The first byte to return; with `partial` only. Default: 0. */
                offset?: number;
                /** @description Also return what a running job has uploaded so far. */
                partial?: boolean;
                /** @description Seconds to wait for what the response is to show. Default: 0; more than 55 counts as 55. The header `Prefer: wait=10` says the same. */
                wait?: number;
            };
            header?: {
                /** @description Entity tags of which one must be that of the response; otherwise it is 412. */
                "if-match"?: string;
                /** @description Entity tags that the client has; the response to a match is 304. */
                "if-none-match"?: string;
                /** @description The ETag of the bytes that the client has. Range is ignored if the ETag differs. */
                "if-range"?: string;
                /** @description One range of bytes, like `bytes=0-1023`, `bytes=1024-` or `bytes=-1024`. Several ranges are ignored. */
                range?: string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The stored bytes; with `partial` those from `offset` on. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/json": unknown;
                    "application/octet-stream": string;
                    "text/*": string;
                };
            };
            /** @description The job has not finished: its status. */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
            /** @description The bytes of one range. */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/octet-stream": string;
                };
            };
            /** @description The result is stored at another URL. */
            303: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The client already has this result. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getService: {
        parameters: {
            query?: {
                /** @description Only samples of a later time, ISO 8601. */
                since?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The state. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ServiceState"];
                };
            };
        };
    };
    claimJob: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /** @description Seconds without a report after which the job goes to another worker. Default: LEASE_SECONDS. */
                    leaseSeconds?: number | null;
                    /** @description The job types that the worker can run. */
                    types: string[];
                    /** @description Seconds to wait while no job is available. Default: 0. */
                    wait?: number | null;
                };
            };
        };
        responses: {
            /** @description The job and its lease. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The number of this attempt. */
                        attempt: number;
                        /** @description false: no run begins after a cancellation. */
                        cancelRequested: boolean;
                        /** @description The input, unless there is an inputUrl. */
                        input?: unknown;
                        /** @description The media type of the input at inputUrl. */
                        inputContentType?: string;
                        /** @description The URL of an input that is large or was sent as raw bytes. It needs the header Lease-Token. */
                        inputUrl?: string;
                        jobId: string;
                        /**
                         * Format: date-time
                         * @description Report before this time: each report renews the lease.
                         */
                        leaseExpiresAt: string;
                        /** @description The value of the header Lease-Token in all requests of this run. */
                        leaseToken: string;
                        /** @description The job fails if this attempt fails and is the last. */
                        maxAttempts: number;
                        /** @description The tenant that the job belongs to. */
                        tenant: string | null;
                        /** @description Seconds after which this attempt is ended; null: never. */
                        timeoutSeconds: number | null;
                        type: string;
                    };
                };
            };
            /** @description No job is available. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    completeJob: {
        parameters: {
            query?: never;
            header: {
                /**
                 * @description The leaseToken of the claim.
                 * @example n0Jv2m5pVbWQh1xZ
                 */
                "lease-token": string;
                /** @description sha-256=:<base64>: of the uploaded bytes (RFC 9530). If the stored ones differ, the run goes on. */
                "repr-digest"?: string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": {
                    /** @description The result: any JSON value, including null. */
                    result?: unknown;
                    /** @description The URL of a result stored elsewhere, http or https. */
                    resultUrl?: string | null;
                    /** @description How many bytes were uploaded. If the service has stored another number, the run goes on. */
                    sizeBytes?: number | null;
                };
            };
        };
        responses: {
            /** @description The status of the job. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
        };
    };
    failJob: {
        parameters: {
            query?: never;
            header: {
                /**
                 * @description The leaseToken of the claim.
                 * @example n0Jv2m5pVbWQh1xZ
                 */
                "lease-token": string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /** @description Further members are ignored. */
                    error: {
                        /** @description More than 100 characters are shortened and end with `…`. An empty code becomes `UNSPECIFIED`. */
                        code: string;
                        /** @description Any JSON value. More than 16 KiB become `{ "truncated": true }`; null counts as left out. */
                        details?: unknown;
                        /** @description More than 2000 characters are shortened and end with `…`. */
                        message: string;
                    };
                    /** @description Whether another attempt may succeed. Default: true. */
                    retryable?: boolean | null;
                };
            };
        };
        responses: {
            /** @description The status of the job. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
        };
    };
    getJobInput: {
        parameters: {
            query?: never;
            header: {
                /**
                 * @description The leaseToken of the claim.
                 * @example n0Jv2m5pVbWQh1xZ
                 */
                "lease-token": string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The input: JSON, or the raw bytes as the client sent them. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "*/*": string;
                    "application/json": unknown;
                    "application/octet-stream": string;
                    "text/*": string;
                };
            };
        };
    };
    reportProgress: {
        parameters: {
            query?: never;
            header: {
                /**
                 * @description The leaseToken of the claim.
                 * @example n0Jv2m5pVbWQh1xZ
                 */
                "lease-token": string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": {
                    /** @description A negative number counts as left out. */
                    done?: number | null;
                    /** @description More than 1000 characters are shortened and end with `…`. */
                    message?: string | null;
                    /**
                     * @description 0 to 100; what lies outside counts as the nearer one. A lower value than before is accepted and
                     *     ignored; clients see at most 99 until the job is complete.
                     */
                    percent?: number | null;
                    /** @description More than 100 characters are shortened and end with `…`. */
                    stage?: string | null;
                    /** @description A negative number counts as left out. */
                    total?: number | null;
                };
            };
        };
        responses: {
            /** @description The state of the lease. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description If true, stop and report a failure; the job is then cancelled. */
                        cancelRequested: boolean;
                        /** Format: date-time */
                        leaseExpiresAt: string;
                    };
                };
            };
        };
    };
    releaseJob: {
        parameters: {
            query?: never;
            header: {
                /**
                 * @description The leaseToken of the claim.
                 * @example n0Jv2m5pVbWQh1xZ
                 */
                "lease-token": string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": Record<string, never>;
            };
        };
        responses: {
            /** @description The status of the job. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobStatus"];
                };
            };
        };
    };
    uploadResult: {
        parameters: {
            query?: {
                /** @description The offset of these bytes in the result. Default: that of Content-Range, or 0. */
                offset?: number;
            };
            header: {
                /** @description The file name of the result: attachment; filename="…". Used at offset 0 only, like Content-Type. */
                "content-disposition"?: string;
                /** @description Which bytes of the result these are: bytes <first>-<last>/<total or *>. The body must have so many. */
                "content-range"?: string;
                /**
                 * @description The leaseToken of the claim.
                 * @example n0Jv2m5pVbWQh1xZ
                 */
                "lease-token": string;
            };
            path: {
                /**
                 * @description The id that the submission returned, or that another engine wrote.
                 * @example 3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66
                 */
                jobId: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "*/*": string;
                "application/octet-stream": string;
            };
        };
        responses: {
            /** @description Stored. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description If true, stop and report a failure; the job is then cancelled. */
                        cancelRequested: boolean;
                        /** @description The number of stored bytes, which is the offset of the next ones. */
                        offset: number;
                    };
                };
            };
        };
    };
    getLiveness: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The process is alive. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @enum {string} */
                        status: "ok";
                    };
                };
            };
        };
    };
    getMetrics: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The metrics. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example # TYPE jobs_submitted_total counter
                     *     jobs_submitted_total 41
                     */
                    "text/plain": string;
                };
            };
        };
    };
    getReadiness: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Ready; `degraded` while the store serves all reads. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Readiness"];
                };
            };
        };
    };
}
