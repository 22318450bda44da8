"""A Longshore worker of nothing but generated code: python worker.py ADDRESS QUEUE [JOBS]
pip install grpcio grpcio-tools; cd proto
python -m grpc_tools.protoc -I. --python_out=.. --grpc_python_out=.. longshore/v1/*.proto
"""
import json, os, queue, socket, sys, threading, time, uuid, grpc
from longshore.v1 import workers_pb2 as pb, workers_pb2_grpc

address, queue_name, jobs_max = sys.argv[1], sys.argv[2], int((sys.argv[3:] or [0])[0])
session, concurrency, done = str(uuid.uuid4()), 4, 0
held, unanswered, told, outbox = {}, {}, {}, queue.Queue()
tell = lambda **message: outbox.put(pb.WorkerMessage(**message))

def greet(job, args):  # Twice is as good as once: a job runs again where its ack did not arrive.
    return {"greeting": "hello " + args["name"], "attempt": job.attempt}

def count(job, args):  # It may stop between two items: another run goes on from its cursor.
    for n in range(json.loads(job.cursor or "0"), args["to"]):
        here = pb.Checkpoint(id=job.id, token=job.token, seq=n + 1, cursor=str(n).encode())
        tell(checkpoints=pb.Checkpoints(checkpoints=[here]))
        if job.token in told:
            raise InterruptedError(told.pop(job.token))
        time.sleep(args["seconds"])

def run(job):
    try:
        result = {"greet": greet, "count": count}[job.kind](job, json.loads(job.args))
        verdict = {"ack": pb.Ack(result=json.dumps(result).encode())}
    except InterruptedError as why:  # Where the job was cancelled, that is what it becomes.
        verdict = {"interrupted": pb.Interrupted(reason=str(why))}
    except Exception as error:
        verdict = {"fail": pb.Fail(error={"type": type(error).__name__, "message": str(error)})}
    unanswered[job.id] = pb.Settlement(id=job.id, token=job.token, **verdict)
    tell(settle=pb.Settle(settlements=[unanswered[job.id]]))

def beat(seconds, stop):
    while not stop.wait(seconds):
        tell(heartbeat=pb.Heartbeat())

def work(stub, stop):
    global outbox, done
    leases = [pb.HeldLease(id=job.id, token=job.token, started=True) for job in list(held.values())]
    outbox = queue.Queue()
    tell(hello=pb.Hello(name=f"python-{os.getpid()}", session=session, host=socket.gethostname(),
                        pid=os.getpid(), software="python", concurrency=concurrency, held=leases,
                        queues=[pb.QueueWish(queue=queue_name)]))
    for message in stub.Work(iter(outbox.get, None)):
        if message.HasField("welcome"):
            threading.Thread(target=beat, args=(message.welcome.heartbeat_ms / 1000, stop)).start()
            tell(settle=pb.Settle(settlements=list(unanswered.values())))
            tell(credit=pb.Credit(jobs=concurrency - len(held)))
        for job in message.deliver.jobs:
            held[job.id] = job
            tell(started=pb.Started(jobs=[pb.LeaseRef(id=job.id, token=job.token)]))
            threading.Thread(target=run, args=(job,), daemon=True).start()
        for one in [*message.control.runs, *message.checkpointed.results]:
            if one.instruction.WhichOneof("what") not in ("continue", "slow_down"):
                told[one.token] = one.instruction.interrupt.reason or "stop"
        ended = [one.id for one in message.settled.results if held.pop(one.id, None)]
        done += sum(bool(unanswered.pop(id, None)) for id in ended)
        if ended and jobs_max and done >= jobs_max:
            tell(goodbye=pb.Goodbye())
        elif ended:
            tell(credit=pb.Credit(jobs=len(ended)))

while not jobs_max or done < jobs_max:
    stop = threading.Event()
    try:
        with grpc.insecure_channel(address) as channel:
            work(workers_pb2_grpc.WorkersStub(channel), stop)
    except grpc.RpcError as error:
        print("the stream broke:", error.details(), file=sys.stderr)
        time.sleep(0.2)
    stop.set(), outbox.put(None)
