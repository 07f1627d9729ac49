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

- `fault(rpc, status=, times=, for_s=, delay_s=, cut=, contains=)`, `unavailable`, `lose_answer`, `outage(seconds)`:
  what a client outside meets. `rpc` is a shell pattern (`"FunctionGetOutputs"`, `"Volume*"`). The client itself
  tries most requests four times, so 25 errors that the product sees are 100 faults.
  A connection that is cut four times is `grpclib.exceptions.StreamTerminatedError`, nothing of modal's.
- `strike(action, on="start"|"log"|"commit", pattern=, nth=, after_s=, function=, contains=, times=)`: what befalls
  a container, at a moment named beforehand; `now(action, call)`: at once.
- `expire(call)`, `cancel(call)`, `finish(call, status)`: what becomes of a call.
- `calls()`, `call(id)`, `executions()`, `containers()`, `functions()`, `images()`, `counters()`: the plane's own
  count.
- `configure(max_containers=, idle_s=, grace_s=, crash_backoff_s=, deduplicates=)`: at any time.
- `kill()` and `start()`: the plane's machine is lost with its containers and comes back; `stop()`.

Containers see this interpreter's packages, their mounts below /root, their volumes at their mount paths and not
this checkout (`sandbox.py`: a mount namespace, as root or by user namespaces). `volumes.py` states what commit and
reload mean.
"""
