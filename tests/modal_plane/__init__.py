"""A Modal control plane for tests: the real, unmodified client and Modal's real container entrypoint run against it.

    def test_something(plane):              # the fixture of tests/conftest.py: sets MODAL_SERVER_URL and a token
        subprocess.run(["modal", "deploy", "-m", "my.app"])      # or modal.App.deploy() in this process
        call = modal.Function.from_name("my-app", "step").spawn({"a": 1})
        plane.running(call.object_id)                # waits until a container works on it
        plane.now("preempt", call.object_id)         # or out_of_memory, crash, timeout, cancel
        assert call.get() == ...
        assert len(plane.call(call.object_id)["executions"]) == 2

Another process (a flow, a worker) only needs `plane.environment`. By hand: `PYTHONPATH=tests python -m modal_plane
--state DIR --port N`. Everything a test may do is a method of `control.PlaneControl`:

- `fault(rpc, status=, times=, for_s=, delay_s=, cut=, contains=, of=)`, `unavailable`, `lose_answer`,
  `outage(seconds)`: what a client meets. `rpc` is a shell pattern (`"FunctionGetOutputs"`, `"Volume*"`). The client
  itself tries a request that is UNAVAILABLE or cut four times, within 0.7 s, so 25 such errors that the product
  sees are 100 faults and 18 s; RESOURCE_EXHAUSTED it does not try again. A connection that is cut four times is
  `grpclib.exceptions.StreamTerminatedError`, nothing of modal's.
- `strike(action, on="start"|"log"|"commit", pattern=, nth=, every=, after_s=, function=, contains=, times=)`: what
  befalls a container, at a moment named beforehand (preempt, out_of_memory, crash, timeout, cancel); `now(action,
  call)`: at once.
- `expire(call)`, `cancel(call)`, `finish(call, status)`: what becomes of a call. `rates({...})`: what billing says.
- `calls()`, `call(id)`, `executions()`, `containers()`, `functions()`, `images()`, `counters()`: the plane's own
  count.
- `configure(...)`: the fields of `plane.Settings`, at any time.
- `kill()` and `start()`: the plane's machine is lost with its containers and comes back; `stop()`.

Containers see this interpreter's packages, their mounts below /root, their volumes at their mount paths and not
this checkout (`sandbox.py`: a mount namespace, as root or by user namespaces). They are forked from a process that
has modal's runtime imported (`zygote.py`), so a cold call takes a fifth of a second; with `preload` other packages
too. `volumes.py` states what commit and reload mean.

What of the real service is not modelled, so that no test here says anything of it:

- The image is not built: its commands and layers are kept, its ENV lines and added files are honoured, its packages
  are this interpreter's. No CPU, memory or GPU is limited or there; `MODAL_PLANE_GPU` in a container names the class.
- Its own words and times: texts of errors and system lines, how late logs are, how long a queue or a start takes, how
  long a killed container has, whether a request sent twice is one call (`deduplicates`), how often volumes are
  committed unasked, when results expire. Each is a setting where it matters.
- What it says of a container that ran out of memory: here the same input starts again, with growing pauses, for ever.
- Authentication (any token will do), permissions, rate limits, billing reports, regions.
- Versions of a deployment other than the newest.
- `.map`, `.spawn_map`, classes, batching, input concurrency, web endpoints, sandboxes, queues, schedules, snapshots,
  clusters, network file systems, cloud buckets, the input plane: UNIMPLEMENTED, and the plane's log names the RPC.
- Volumes: no limits of size or number of files; a commit is atomic to readers, which the real one does not promise;
  blocks and mounts are kept for ever.
"""
