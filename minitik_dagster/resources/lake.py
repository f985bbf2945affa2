"""Parquet files in the bucket, one per asset and day: the IO manager of tables."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableIOManager, InputContext, MetadataValue, OutputContext

from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import load_settings

if TYPE_CHECKING:
    import pyarrow as pa

CONTENT_TYPE = "application/vnd.apache.parquet"


class ParquetIOManager(ConfigurableIOManager):
    """Writes tables by partition to `exports/lake/{asset}/day={partition}/{asset}.parquet`.

    What is no table, or of another partition than the run's, is refused.

    The same partition again replaces its one object: readers see the old file or the new one.
    """

    def handle_output(self, context: OutputContext, obj: "Mapping[str, pa.Table]") -> None:
        """Store each partition's table, encrypted at rest; says where, and how much it is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = context.asset_key.to_user_string()
        if not isinstance(obj, Mapping) or set(obj) != set(context.asset_partition_keys):
            raise TypeError(f"{name}: a table for each partition of the run is stored here")
        if not all(isinstance(table, pa.Table) for table in obj.values()):
            raise TypeError(f"{name}: a pyarrow.Table is stored here")
        store, size, keys = ObjectStore.from_settings(load_settings()), 0, []
        for partition, table in obj.items():
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd")
            keys.append(_key(context, partition))
            store.put(keys[-1], buffer.getvalue(), CONTENT_TYPE)
            size += buffer.tell()
        context.add_output_metadata(
            {
                "key": MetadataValue.text(keys[0] if len(keys) == 1 else f"{keys[0]} …"),
                "files": MetadataValue.int(len(keys)),
                "dagster/row_count": MetadataValue.int(sum(t.num_rows for t in obj.values())),
                "bytes": MetadataValue.int(size),
            }
        )

    def load_input(self, context: InputContext) -> Any:
        """Read the partition's table again; of several, one after another."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        store, tables = ObjectStore.from_settings(load_settings()), []
        for partition in context.asset_partition_keys:
            key = _key(context, partition)
            found = store.head(key)
            size = found.size if found is not None else 0
            tables.append(pq.read_table(io.BytesIO(store.read(key, 0, size))))
        return pa.concat_tables(tables)


def _key(context: InputContext | OutputContext, partition: str) -> str:
    name = context.asset_key.path[-1]
    return f"exports/lake/{name}/day={partition}/{name}.parquet"
