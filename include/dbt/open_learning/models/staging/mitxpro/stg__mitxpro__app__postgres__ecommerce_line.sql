select
  id as line_id,
  order_id,
  product_version_id as productversion_id,
  quantity as line_quantity
from {{ source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__ecommerce_line') }}
