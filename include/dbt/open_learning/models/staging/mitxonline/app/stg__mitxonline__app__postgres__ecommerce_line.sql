select
  id as line_id,
  order_id,
  product_version_id as productversion_id,
  purchased_content_type_id as contenttype_id,
  purchased_object_id as product_object_id,
  quantity as line_quantity
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__ecommerce_line') }}
