"""Distillation: one model is taught by another, and then serves alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import cost
from recscale.models.ctr.clicks import with_negatives
from recscale.models.ctr.dcnv2 import DCNv2Config
from recscale.models.ctr.din import DINConfig
from recscale.models.generative.hstu import HSTUConfig
from recscale.models.generative.transformer import TransformerConfig
from recscale.models.settings import Count, Positive
from recscale.models.together.member import Member
from recscale.types import Batch, Cost, Ranker, Retriever, Schema

Student = Annotated[
    HSTUConfig | TransformerConfig | DINConfig | DCNv2Config, Field(discriminator="name")
]


class DistilledConfig(Settings):
    """The student, and how much of its loss is the teacher's opinion."""

    name: Literal["distilled"] = "distilled"
    student: Student
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 2.0
    negatives: Count = 16  # a positive, in a log without exposures: what the teacher is asked about


class Distilled(nn.Module):
    """loss = (1 - share) own + share T^2 KL(teacher || student), both softened by T.

    Hinton, Vinyals & Dean 2015, section 2. The softmax runs over what was chosen and drawn
    alternatives, or over click and no click where there are exposures. The teacher is no part of
    what is saved or served.
    """

    def __init__(
        self, config: DistilledConfig, schema: Schema, student: Ranker, teacher: Ranker
    ) -> None:
        super().__init__()
        self.config = config
        self.schema = schema
        self.student = student
        self.teacher: Sequence[Member[Ranker]] = (
            Member(teacher),
        )  # in a tuple it is no module of this

    def score(self, batch: Batch) -> Tensor:
        """[N], the student's."""
        return self.student.score(batch)

    def loss(self, batch: Batch) -> Tensor:
        """The student's own loss and the distance to its teacher."""
        share = self.config.share
        return (1 - share) * self.student.loss(batch) + share * self._distance(batch)

    def cost(self, history: int, candidates: int) -> Cost:
        """The student's."""
        return cost(self, self.student.cost(history, candidates).flops_per_request)

    def _distance(self, batch: Batch) -> Tensor:
        temperature = self.config.temperature
        teacher = self.teacher[0].to(batch.candidates.time.device)
        if self.schema.exposures:
            told = (teacher.score(batch) / temperature).sigmoid()
            said = self.score(batch) / temperature
            distance = F.binary_cross_entropy_with_logits(said, told)
            # The teacher's own entropy is taken off: what is left is the divergence.
            return temperature**2 * (distance - F.binary_cross_entropy(told, told))
        drawn = with_negatives(batch, self.config.negatives, self.schema.num_items)
        told, said = (
            (score / temperature).view(-1, 1 + self.config.negatives).log_softmax(1)
            for score in (teacher.score(drawn), self.score(drawn))
        )
        total = F.kl_div(said, told, reduction="sum", log_target=True)
        return temperature**2 * total / max(len(said), 1)


class DistilledRetriever(Distilled):
    """The same for a student that ranks the catalogue by one product."""

    student: Retriever

    def __init__(
        self, config: DistilledConfig, schema: Schema, student: Retriever, teacher: Ranker
    ) -> None:
        super().__init__(config, schema, student, teacher)

    def encode(self, batch: Batch) -> Tensor:
        """[N, D]."""
        return self.student.encode(batch)

    def item_vectors(self) -> Tensor:
        """[V, D]."""
        return self.student.item_vectors()
