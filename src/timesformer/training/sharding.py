"""FSDP2: weights, gradients and optimizer states divided among the ranks.

Each block, and the rest of the model with its last block, is gathered when it is computed. The last block belongs to
the rest because its backward pass follows its forward pass at once, and because it may compute the class token alone.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.distributed import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from timesformer.config.run import RunConfig
from timesformer.device import resolve_device
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import writing
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.shards import SHARDS, complete, put_tensors, take_tensors, twins, write_shards


@contextmanager
def sharing_group(run: RunConfig, *, is_alone: bool) -> Generator[None]:
    """What the strategy of a run needs in a single process.

    Raises:
        ConfigError: The strategy copies to several processes, or does not run on the device.
    """
    if run.strategy == "ddp" and is_alone:
        raise ConfigError("strategy='ddp' needs several processes: start with torchrun or srun, or use 'auto'")
    if run.strategy != "fsdp":
        yield
        return
    device = str(resolve_device(run.device))
    if device == "mps":
        raise ConfigError("strategy='fsdp' runs on the CPU and on CUDA GPUs, not on device='mps'")
    with group_of_one(device=device):
        yield


@contextmanager
def group_of_one(*, device: str) -> Generator[None]:
    """A process group for sharding in a single process; that of the caller if there is one."""
    if dist.is_initialized():
        yield
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(model: TimeSformer, mesh: DeviceMesh) -> None:
    """Divide a model among the processes of a mesh, in place; names of parameters stay as they are."""
    for block in list(model.blocks)[:-1]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gathered(model: TimeSformer) -> TimeSformer | None:
    """A whole copy of a sharded model on the CPU, in rank 0, gathered tensor by tensor; all ranks call it.

    A model that is not sharded is returned itself.
    """
    if not isinstance(model, FSDPModule):
        return model
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if dist.get_rank() == 0:
            tensors[name] = whole.cpu()
    if dist.get_rank() > 0:
        return None
    with torch.device("meta"):
        copy = TimeSformer(model.config, info=model.info)
    copy.load_state_dict(tensors, assign=True)
    return copy.eval()


class ShardedStrategy(DDPStrategy):
    """Shards the model instead of copying it, and writes the tensors of checkpoints to a folder of shards."""

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Checkpoints are read into sharded tensors."""
        return True

    def model_to_device(self) -> None:
        """Move each rank's shards to its device."""
        module = self._module
        mesh = init_device_mesh(self.root_device.type, (dist.get_world_size(),))
        for model in filter(None, (module.model, module.average)):
            shard(model, mesh)
        module.to(self.root_device)

    def configure_ddp(self) -> None:
        """Nothing is left to wrap."""

    @contextmanager
    def block_backward_sync(self) -> Generator[None]:
        """Accumulate gradients without exchanging them."""
        model = cast(FSDPModule, self._module.model)
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write the tensors into a new folder next to `filepath`, and the rest as usual.

        Raises:
            TimeSformerError: The disk refused, in any rank.
        """
        name = self.broadcast(f"{SHARDS}-{checkpoint['global_step']:07d}-{uuid4().hex[:8]}")
        folder = Path(filepath).parent / name
        with writing(folder):
            write_shards(take_tensors(checkpoint), folder)
        super().save_checkpoint({**checkpoint, SHARDS: name}, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint, sharded or whole, into tensors sharded like those of the training.

        Raises:
            WeightsError: A file of tensors is missing or damaged.
        """
        checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        for saved, group in zip(
            checkpoint["optimizer_states"][0]["param_groups"], self.optimizers[0].param_groups, strict=True
        ):
            saved["fused"] = group["fused"]  # SGD has no fused kernel for shards
        twin = twins(self._module, self.optimizers[0])
        if SHARDS in checkpoint:
            return complete(checkpoint, Path(checkpoint_path), twin=twin)
        tensors = {key: _like(twin(key), tensor) for key, tensor in take_tensors(checkpoint).items()}
        put_tensors(checkpoint, tensors)
        return checkpoint

    @property
    def _module(self) -> ClipClassifier:
        return cast(ClipClassifier, self.lightning_module)


def _like(twin: Tensor | None, tensor: Tensor) -> Tensor:
    """A whole tensor sharded like its twin, if that is sharded and of the same size; each rank cuts out its share."""
    if not isinstance(twin, DTensor) or twin.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor, twin.device_mesh, twin.placements, src_data_rank=None)
