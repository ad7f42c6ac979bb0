"""The processes of one run, as torchrun starts them: one alone where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from hexbite.console import hush


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process is the ``rank``-th of ``count``; the first of them speaks and writes."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that speaks and writes."""
        return self.rank == 0

    def add(self, sums: Tensor) -> None:
        """Replace a tensor by its sum over the ranks."""
        if self.count > 1:
            dist.all_reduce(sums)

    def agree(self, *, wanted: bool) -> bool:
        """Whether any rank wants something, told to all."""
        if self.count == 1:
            return wanted
        votes = torch.tensor(int(wanted))
        dist.all_reduce(votes)
        return bool(votes)


@contextmanager
def joined() -> Iterator[tuple[Ranks, torch.device]]:
    """The group that torchrun made, or this process alone; and the device to train on, a GPU where there is one."""
    on_gpu = torch.cuda.is_available()
    if not dist.is_torchelastic_launched():
        yield Ranks(), torch.device("cuda" if on_gpu else "cpu")
        return
    device = torch.device("cuda", dist.get_node_local_rank()) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    # Tensors on either device: gradients may lie on a GPU, votes and figures lie on the CPU.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    if not ranks.leads:
        hush()
    try:
        yield ranks, device
        # Nobody closes its connections while the first rank still writes; where that fails, torchrun ends the others.
        dist.barrier()
    finally:
        dist.destroy_process_group()
