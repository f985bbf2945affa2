"""Parquet files in the bucket, one per asset and day: the IO manager of tables."""

import io
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableIOManager, InputContext, MetadataValue, OutputContext

from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import load_settings

if TYPE_CHECKING:
    import pyarrow as pa

CONTENT_TYPE = "application/vnd.apache.parquet"


class ParquetIOManager(ConfigurableIOManager):
    """Writes a table to `exports/lake/{asset}/day={partition}/{asset}.parquet`; no table is refused.

    The same partition again replaces its one object: readers see the old file or the new one.
    """

    def handle_output(self, context: OutputContext, obj: "pa.Table") -> None:
        """Store the table, encrypted at rest; says where, and how much it is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not isinstance(obj, pa.Table):
            raise TypeError(f"{context.asset_key.to_user_string()}: a pyarrow.Table is stored here")
        buffer = io.BytesIO()
        pq.write_table(obj, buffer, compression="zstd")
        key = _key(context)
        ObjectStore.from_settings(load_settings()).put(key, buffer.getvalue(), CONTENT_TYPE)
        context.add_output_metadata(
            {
                "key": MetadataValue.text(key),
                "dagster/row_count": MetadataValue.int(obj.num_rows),
                "bytes": MetadataValue.int(buffer.tell()),
            }
        )

    def load_input(self, context: InputContext) -> Any:
        """Read the partition's table again."""
        import pyarrow.parquet as pq

        store = ObjectStore.from_settings(load_settings())
        key = _key(context)
        found = store.head(key)
        size = found.size if found is not None else 0
        return pq.read_table(io.BytesIO(store.read(key, 0, size)))


def _key(context: InputContext | OutputContext) -> str:
    name = context.asset_key.path[-1]
    return f"exports/lake/{name}/day={context.asset_partition_key}/{name}.parquet"
