"""What models of a Vertex AI of our own predict, well or badly, and how that refuses."""


class Refused(Exception):  # noqa: N818 - as grpc names it
    """A request is not done, with this status."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def answers(release="endcap-release:r1", **more):
    """What a good model predicts for one instance."""

    def predict(instance):
        items = [{"item_id": f"i{rank}", "rank": rank} for rank in range(int(instance["k"]))]
        return {"user_id": instance["user_id"], "release": release, "items": items, "degraded": [], **more}

    return predict


def fails(code="INTERNAL", message="the container answered 500"):
    """What a broken model does."""

    def predict(_):
        raise Refused(code, message)

    return predict


def empty(_):
    """What a model without items predicts."""
    return {"items": [], "release": "endcap-release:none"}
